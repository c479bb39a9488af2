"""Where a legend stands once it is drawn."""

from matplotlib.legend import Legend

from mae_hydra.figures.chart import drawing


def columns_of(legend: Legend) -> int:
    """How many of its names begin at places of their own from left to right."""
    figure = legend.get_figure(root=True)
    with drawing(figure):
        figure.draw_without_rendering()
    return len({round(text.get_window_extent().x0) for text in legend.get_texts()})
