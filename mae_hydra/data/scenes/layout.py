"""The land of a scene: sky and clouds, mountains, forest, ground in perspective, road."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mae_hydra.data.scenes.canvas import Array, Box, Canvas

SKY, CLOUD, MOUNTAIN, TREE, WATER, GRASS, FIELD, SAND, ROAD, BUILDING, ROCK, VEHICLE = range(12)


def paint_sky(canvas: Canvas) -> None:
    """A gradient from the horizon to the zenith, with a glow around the sun."""
    light, rng = canvas.light, canvas.rng
    up = np.clip(1 - canvas.y / (canvas.horizon + 0.05), 0, 1) ** np.float32(rng.uniform(0.6, 1.3))
    canvas.colour[:] = light.horizon + (light.zenith - light.horizon) * up
    sun_x, sun_y = canvas.aspect * (0.5 + 0.6 * light.side), canvas.horizon * rng.uniform(0.0, 1.0)
    far = (canvas.x - sun_x) ** 2 + (canvas.y - sun_y) ** 2
    canvas.colour += (light.tint * np.float32(rng.uniform(0.1, 0.3))) * np.exp(far * np.float32(-7))
    canvas.labels[:] = SKY


def paint_clouds(canvas: Canvas) -> None:
    """Banks of cloud, bright on top and grey below; thin veils stay ignored pixels."""
    rng, light = canvas.rng, canvas.light
    amount = rng.uniform(-0.3, 1.0)
    if amount < -0.1:
        return
    box = canvas.box(0, 0, canvas.aspect, canvas.horizon)
    low = canvas.grid(box)[0] / canvas.horizon
    puffs = canvas.cut("soft", box)
    density = puffs + 0.22 * canvas.cut("rough", box) - np.float32(1.0 - 1.2 * amount) - 0.8 * (low - 0.45) ** 2
    alpha = np.clip(density * np.float32(2.2), 0, 1)
    alpha = alpha * alpha * (3 - 2 * alpha)
    # What lies lower in a cloud is darker: compare its thickness here with a little further up.
    step = max(1, canvas.height // 24)
    thicker = np.zeros_like(puffs)
    thicker[step:] = puffs[step:] - puffs[:-step]
    top = (0.35 * light.horizon + 0.68) * light.tint ** np.float32(0.6)
    base = 0.6 * top + 0.2 * light.zenith
    shade = np.clip(0.75 - 0.3 * density + np.float32(0.4) * thicker, 0, 1)
    canvas.paint(box, alpha * np.float32(0.96), base + (top - base) * shade, CLOUD)


def ridge(canvas: Canvas, base: float, height: float, wave: float, sharp: float) -> Array:
    """A skyline (1, W): the y of the ridge over every column."""
    rng, x = canvas.rng, canvas.x
    line = np.zeros_like(x)
    amplitude, total = 1.0, 0.0
    for _ in range(4):
        phase = x * np.float32(wave / 2) + np.float32(rng.random())
        tooth = 1 - 2 * np.abs(2 * (phase - np.floor(phase)) - 1)  # triangles: sharp peaks
        line += np.float32(amplitude) * (sharp * tooth + (1 - sharp) * np.sin(phase * np.float32(2 * np.pi)))
        total += amplitude
        amplitude, wave = amplitude * 0.5, wave * rng.uniform(1.7, 2.6)
    return np.float32(base) - np.float32(height) * (0.5 + 0.5 * line / np.float32(total))


def paint_mountains(canvas: Canvas) -> None:
    """One or two ranges with lit and shaded slopes; the far one is hazier, high ones carry snow."""
    rng, light = canvas.rng, canvas.light
    count = rng.choice((0, 1, 1, 2, 2))
    snow = rng.random() < 0.45
    for layer in range(count):
        far = 1 - layer / 2
        height = canvas.horizon * rng.uniform(0.45, 0.9) * (1 if layer == 0 else 0.6)
        line = ridge(canvas, canvas.horizon + 0.01, height, rng.uniform(1.2, 2.6), 0.85)
        box = canvas.box(0, float(line.min()), canvas.aspect, canvas.horizon + 0.03)
        y, _ = canvas.grid(box)
        relief = canvas.cut("slopes", box) * np.float32(-light.side)
        body = light.material(rng, "mountain") * (1 + np.float32(0.24) * relief)
        if snow and layer == 0:
            line_of_snow = canvas.horizon - 0.55 * height + np.float32(0.03) * canvas.cut("rough", box)
            white = canvas.cover(line_of_snow - y) * np.clip(1.1 + 0.5 * relief, 0, 1)
            body = body + (0.95 * light.tint * (1 + np.float32(0.1) * relief) - body) * white
        body = light.hazed(body, 0.25 - 0.3 * far)
        canvas.paint(box, canvas.cover(y - line), body, MOUNTAIN)


def paint_forest(canvas: Canvas) -> None:
    """A belt of crowns along the horizon, or a wooded hill."""
    rng, light = canvas.rng, canvas.light
    if rng.random() < 0.35:
        return
    line = ridge(canvas, canvas.horizon + 0.015, rng.uniform(0.1, 0.3), rng.uniform(0.4, 1.2), 0.1)
    phase = canvas.x * np.float32(rng.uniform(9, 16)) + np.float32(rng.random())
    line = line - np.float32(0.022) * np.abs(np.sin(phase * np.float32(np.pi)))  # crowns make a scalloped edge
    box = canvas.box(0, float(line.min()), canvas.aspect, canvas.horizon + 0.03)
    y, _ = canvas.grid(box)
    crowns = canvas.cut("crowns", box)
    body = light.material(rng, "forest") * (1 + np.float32(0.3) * crowns + np.float32(0.07) * canvas.cut("white", box))
    canvas.paint(box, canvas.cover(y - line), light.hazed(body, 0.12), TREE)


# --- ground -------------------------------------------------------------------------------------------------------


def in_perspective(canvas: Canvas, name: str, box: Box, across: float, along: float) -> Array:
    """A texture field laid on the ground: it shrinks towards the horizon. Scales are in field heights per unit."""
    rng, field = canvas.rng, canvas.fields[name]
    y, x = canvas.grid(box)
    depth = np.maximum(y - np.float32(canvas.horizon), 0)
    columns = (x - np.float32(0.5 * canvas.aspect)) * np.float32(across * 0.65 * canvas.height) / (depth + 0.15)
    rows = np.log(depth + np.float32(0.08)) * np.float32(along * 0.5 * canvas.height)
    mod = len(field) - 1  # the side is a power of two
    down = (rows + np.float32(rng.random() * mod)).astype(np.int32) & mod
    right = (columns + np.float32(rng.random() * mod)).astype(np.int32) & mod
    return field[down, right]


def nearness_of(canvas: Canvas, box: Box) -> Array:
    return np.clip((canvas.grid(box)[0] - canvas.horizon) / np.float32(1 - canvas.horizon), 0, 1)


def grass(canvas: Canvas, box: Box) -> Array:
    near = nearness_of(canvas, box)
    blades = in_perspective(canvas, "blades", box, 0.8, 1.0)
    patches = in_perspective(canvas, "soft", box, 1.0, 1.6)
    body = canvas.light.material(canvas.rng, "grass")
    return body * (0.9 + np.float32(0.1) * patches + (0.08 + 0.15 * near) * blades)


def field(canvas: Canvas, box: Box) -> Array:
    """Ploughed or planted rows that run to a vanishing point."""
    rng = canvas.rng
    y, x = canvas.grid(box)
    depth = np.maximum(y - np.float32(canvas.horizon), 0) + np.float32(0.05)
    vanish = canvas.aspect * rng.uniform(-0.7, 1.7)
    rows = rng.uniform(3.5, 6.0)
    wave = np.sin((x - np.float32(vanish)) / depth * np.float32(rows * np.pi * 0.5))
    # Rows finer than two pixels would alias; they melt into an even tone instead.
    visible = np.clip(depth * np.float32(canvas.height / 4.0 / rows) - 0.6, 0, 1)
    body = canvas.light.material(rng, "field")
    other = canvas.light.material(rng, "field")
    mix = 0.5 + 0.5 * wave * visible
    grain = 1 + np.float32(0.07) * in_perspective(canvas, "grains", box, 0.8, 0.8)
    return (body * 0.72 + (other * 1.05 - body * 0.72) * mix) * grain


def sand(canvas: Canvas, box: Box) -> Array:
    """Smooth ground with soft dunes and fine grain."""
    near = nearness_of(canvas, box)
    dunes = in_perspective(canvas, "soft", box, 0.7, 2.2)
    grains = in_perspective(canvas, "grains", box, 1.0, 1.0)
    body = canvas.light.material(canvas.rng, "sand")
    return body * (0.95 + np.float32(0.12) * dunes + (0.02 + 0.06 * near) * grains)


def water(canvas: Canvas, box: Box) -> Array:
    """The mirrored scene above the horizon, broken by ripples, over the water's own colour."""
    rng, light = canvas.rng, canvas.light
    near = nearness_of(canvas, box)
    ripples = in_perspective(canvas, "ripples", box, 0.6, 1.0)
    horizon_row = round(canvas.horizon * canvas.height)
    # Where the mirrored sky ends it bounces back a little; holding its last row would draw streaks.
    mirrored = 2 * horizon_row - 1 - np.arange(box[0].start, box[0].stop)
    mirrored = np.where(mirrored < 0, np.minimum(-mirrored, horizon_row // 3), mirrored)
    mirror = canvas.colour[:, mirrored, box[1]] * np.float32(0.85)
    own = light.lit(rng, rng.choice(("2f6f8a", "3f8a8a", "35506a", "5f7a6a", "7a8a80", "4f6f9f")))
    share = np.float32(rng.uniform(0.3, 0.9)) * (1 - 0.5 * near)
    return (own + (mirror - own) * share) * (1 + (0.05 + 0.2 * near) * ripples)


GROUNDS: dict[int, Callable[[Canvas, Box], Array]] = {WATER: water, GRASS: grass, FIELD: field, SAND: sand}
# What may lie in front of what, from the horizon to the viewer, with how often it happens.
LANDS: dict[tuple[int, ...], int] = {
    (GRASS,): 3, (FIELD,): 4, (SAND,): 2, (WATER,): 1, (FIELD, GRASS): 3, (GRASS, FIELD): 5, (WATER, SAND): 4,
    (WATER, GRASS): 3, (GRASS, WATER): 2, (SAND, GRASS): 2, (GRASS, SAND): 2, (SAND, WATER): 2,
    (GRASS, WATER, SAND): 2, (FIELD, WATER, GRASS): 2, (WATER, SAND, GRASS): 2, (SAND, FIELD, GRASS): 1,
}  # fmt: skip


def paint_ground(canvas: Canvas) -> tuple[int, ...]:
    """Bands of ground with winding borders; returns their classes from the horizon to the viewer."""
    rng, h = canvas.rng, canvas.horizon
    land = rng.choices(list(LANDS), list(LANDS.values()))[0]
    start = h
    for order, kind in enumerate(land):
        if order == 0:
            line = np.full_like(canvas.x, h)
        else:
            start += (1 - start) * rng.uniform(0.3, 0.55)
            tilt = (canvas.x - np.float32(0.5 * canvas.aspect)) * np.float32(rng.uniform(-0.28, 0.28))
            line = ridge(canvas, start + 0.05, 0.1 * (0.4 + start - h), rng.uniform(0.5, 1.6), 0.0) + tilt
            line = np.maximum(line, np.float32(h + 0.02))
        box = canvas.box(0, float(line.min()), canvas.aspect, 1.0)
        y, _ = canvas.grid(box)
        near = nearness_of(canvas, box)
        body = GROUNDS[kind](canvas, box)
        body += (canvas.light.horizon - body) * (np.float32(canvas.light.haze * 0.8) * np.exp(near * np.float32(-6)))
        canvas.paint(box, canvas.cover(y - line), body, kind)
        if order and WATER in (kind, land[order - 1]):  # a bright or dark rim along the shore
            rim = np.exp(-(((y - line) * np.float32(60)) ** 2))
            canvas.tone(box, rim, rng.choice((0.8, 1.25)))
    return land


class Road(NamedTuple):
    """Where a road lies: x of its middle at the viewer and at the horizon, its bend, half its width at the viewer."""

    start: float
    end: float
    bend: float
    half: float

    def middle(self, t: Any) -> Any:
        """x of the middle at nearness t, 0 at the horizon and 1 at the lower border."""
        return self.end + (self.start - self.end) * t + self.bend * t * (1 - t)


def paint_road(canvas: Canvas) -> Road | None:
    """A road from the viewer to the horizon, mostly with a dashed middle line; not every land has one."""
    rng, light, h = canvas.rng, canvas.light, canvas.horizon
    if rng.random() < 0.2:
        return None
    road = Road(
        start=canvas.aspect * rng.uniform(0.1, 0.9),
        end=canvas.aspect * rng.uniform(0.15, 0.85),
        half=rng.uniform(0.2, 0.42),
        bend=rng.uniform(-0.5, 0.5),
    )
    box = canvas.box(0, h, canvas.aspect, 1.0)
    y, x = canvas.grid(box)
    t = (y - np.float32(h)) / np.float32(1 - h)
    width = np.float32(road.half) * (t + 0.03)
    across = (x - road.middle(t)) / width
    grey = light.lit(rng, rng.choice(("6a6a6e", "8a8680", "4a4c52", "a89478", "b0aaa0")))
    body = grey * (1 + np.float32(0.05) * in_perspective(canvas, "grains", box, 1.0, 0.7))
    body = body * (1 - np.float32(0.12) * np.exp(-(((np.abs(across) - 0.5) * 5) ** 2)))  # the tyres' tracks
    if rng.random() < 0.75:
        paint = light.lit(rng, rng.choice(("f0f0e8", "f0f0e8", "e8c860"))) * np.float32(1.1)
        dash = np.sin(np.log(t + np.float32(0.12)) * np.float32(rng.uniform(11, 16)) + np.float32(rng.random() * 6)) > 0
        lines = canvas.cover((0.05 - np.abs(across)) * width) * dash
        if rng.random() < 0.6:
            lines = np.maximum(lines, canvas.cover((0.045 - np.abs(np.abs(across) - 0.88)) * width))
        body = body + (paint - body) * lines * np.float32(0.85)
    body += (light.horizon - body) * (np.float32(light.haze * 0.7) * np.exp(t * np.float32(-6)))
    canvas.paint(box, canvas.cover(np.minimum((1 - np.abs(across)) * width, y - np.float32(h))), body, ROAD)
    return road
