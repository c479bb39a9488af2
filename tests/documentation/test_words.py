"""The words of README, docs and option files: American spelling, the field's terms, and none of ours unexplained."""

import re
from pathlib import Path

import pytest
from commands import ROOT, pages

BRITISH = re.compile(
    r"\b\w*(?:colour|grey|normalis|standardis|initialis|recognis|optimis|organis|regularis|visualis|quantis|generalis|"
    r"summaris|synchronis|orthogonalis|utilis|minimis|maximis|factoris|behaviour|neighbour|favour|centre|centring|labell|"
    r"cancell(?!ation)|modell|travell|licence|artefact|catalogue|programme\b|judgement|whilst|amongst|towards|afterwards|"
    r"misspelt|learnt)\w*",
    re.IGNORECASE,
)
PRIVATE = {  # ours alone -> what the field says; docs/architecture.md explains the two that tests are called by
    r"embedded (?:data|scene)": "synthetic",
    r"\baccelerators?\b": "GPU",
    r"\bloading process(?:es)?\b": "DataLoader worker",
    r"\bmoving average of\b(?<!exponential)": "EMA",
    r"\bhidden patch": "masked patch",
    r"\bmirror(?:ed)? image": "flip",
    r"\bshares of the weights\b": "shards",
    r"\bwhole twin\b": "unsharded copy",
    r"\bqueued again\b": "requeued",
    r"\b(?:is|are) told\b": "is set, is reported",
    r"\bof one's own\b": "of your own",
}
LONGEST = 65  # words of a sentence, tables and lists aside


def prose(page: Path) -> str:
    """A page without code, links' targets and what stands in backticks."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"`[^`]*`|<[^>\n]*>|<!--.*?-->", "·", text, flags=re.DOTALL)


PAGES = [page for page in [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"] if page.name != "options.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_spelling_is_american(page: Path):
    assert [match[0] for match in BRITISH.finditer(prose(page))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_terms_are_the_fields(page: Path):
    text = prose(page)
    found = {match[0]: better for term, better in PRIVATE.items() for match in re.finditer(term, text, re.IGNORECASE)}
    assert found == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Path):
    text = re.sub(r"^(?:\||#|- |\d\.).*$", "", prose(page), flags=re.MULTILINE)
    sentences = re.split(r"(?<=[.!?:;])\s|\n\n", text)
    assert [sentence for sentence in sentences if len(sentence.split()) > LONGEST] == []


def test_comments_of_option_files_are_american_and_in_the_fields_terms():
    """`--help` and docs/options.md are made of them. A key keeps its name: `data.colours`."""
    wrong = []
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        for comment in re.findall(r"(?:^|\s)#(.*)", file.read_text()):
            text = re.sub(r"data\.colours|\bcolours=", "", comment)
            terms = [re.search(term, text, re.IGNORECASE) for term in PRIVATE]
            wrong += [(file.name, match[0]) for match in [BRITISH.search(text), *terms] if match]
    assert wrong == []
