import pytest
import torch
from checkpoint_files import make_mae, make_upernet, randomise, write_run

from mae_hydra.errors import UserError
from mae_hydra.models import patchify
from mae_hydra.weights import read_checkpoint, transfer


def test_grey_pictures_look_to_a_converted_encoder_as_their_colour_copies_did(tmp_path):
    colour, grey = randomise(make_mae()).double(), make_mae(in_chans=1).double()
    report = transfer(grey, read_checkpoint(write_run(tmp_path, colour)), adapt=["channels"])
    assert report.names("resized") == ["encoder.patch_embed.proj.weight", "decoder.pred.weight", "decoder.pred.bias"]
    images = torch.randn(2, 1, 32, 32).double()
    copies = images.expand(-1, 3, -1, -1)
    torch.testing.assert_close(grey.encoder.tokens(images), colour.encoder.tokens(copies), rtol=1e-10, atol=1e-10)
    noise = torch.rand(2, 16).double()
    theirs = colour(copies, noise=noise).prediction.unflatten(2, (-1, 3)).mean(3)
    torch.testing.assert_close(grey(images, noise=noise).prediction, theirs, rtol=1e-10, atol=1e-10)


def test_more_channels_repeat_what_was_learned(tmp_path):
    colour, six = randomise(make_mae()).double(), make_mae(in_chans=6).double()
    transfer(six, read_checkpoint(write_run(tmp_path, colour)), adapt=["channels"])
    images = torch.randn(2, 3, 32, 32).double()
    twice = torch.cat([images, images], 1)
    torch.testing.assert_close(six.encoder.tokens(twice), colour.encoder.tokens(images), rtol=1e-10, atol=1e-10)
    noise = torch.rand(2, 16).double()
    predicted = six(twice, noise=noise).prediction.unflatten(2, (-1, 6))
    theirs = colour(images, noise=noise).prediction.unflatten(2, (-1, 3))
    torch.testing.assert_close(predicted, theirs.repeat(1, 1, 1, 2), rtol=1e-10, atol=1e-10)
    assert patchify(twice, 8).unflatten(2, (-1, 6)).shape == predicted.shape


def test_other_classes_start_anew_only_where_asked(tmp_path):
    five, seven = randomise(make_upernet(num_classes=5)), make_upernet(num_classes=7)
    before = {name: value.clone() for name, value in seven.state_dict().items()}
    checkpoint = read_checkpoint(write_run(tmp_path, five))
    with pytest.raises(UserError, match=r"init_adapt=\[classes\]"):
        transfer(seven, checkpoint)
    report = transfer(seven, checkpoint, adapt=["classes"])
    last = [f"{head}.classify.{kind}" for head in ("head", "auxiliary") for kind in ("weight", "bias")]
    assert report.names("new") == last
    for name, value in seven.state_dict().items():
        assert torch.equal(value, before[name] if name in last else five.state_dict()[name])


def test_channels_are_not_changed_unasked_and_nothing_else_can_be_asked_for(tmp_path):
    checkpoint = read_checkpoint(write_run(tmp_path, make_mae()))
    with pytest.raises(UserError, match=r"channels 3, the model's has channels 1.*init_adapt=\[channels\]"):
        transfer(make_mae(in_chans=1), checkpoint)
    with pytest.raises(UserError, match="what may be adapted is channels, classes; got colours"):
        transfer(make_mae(), checkpoint, adapt=["colours"])
