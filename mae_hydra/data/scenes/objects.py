"""What stands on the land: buildings, trees, rocks and vehicles, shaded, with shadows, sized by their distance."""

import numpy as np

from mae_hydra.data.scenes.canvas import Canvas
from mae_hydra.data.scenes.layout import BUILDING, ROCK, TREE, VEHICLE
from mae_hydra.data.scenes.light import PAINTS, WALLS

DARK = "20242a"


def cast_shadow(canvas: Canvas, x: float, y: float, half: float, flat: float = 0.22) -> None:
    """A soft ellipse on the ground, away from the sun."""
    x -= canvas.light.side * half * 0.5
    wide = half * 1.35
    box = canvas.box(x - wide, y - wide * flat, x + wide, y + wide * flat)
    rows, columns = canvas.grid(box)
    r = ((columns - np.float32(x)) / np.float32(wide)) ** 2 + ((rows - np.float32(y)) / np.float32(wide * flat)) ** 2
    canvas.tone(box, np.clip(1.4 * (1 - r), 0, 1), 0.58)


def paint_building(canvas: Canvas, x: float, base: float, size: float) -> None:
    """A block seen from a corner: lit front, shaded side, rows of windows, a flat or a gabled roof."""
    rng, light = canvas.rng, canvas.light
    near = canvas.nearness(base)
    wide, tall = size * rng.uniform(0.5, 1.1), size * rng.uniform(0.6, 1.5)
    depth = wide * rng.uniform(0.25, 0.6)
    to_right = x < canvas.aspect / 2  # the side that faces the middle is seen
    gable = rng.random() < 0.45
    roof = wide * rng.uniform(0.25, 0.5) if gable else 0.0
    wall = light.lit(rng, rng.choice(WALLS))
    cover_colour = light.lit(rng, rng.choice(("8a4a3a", "5a5a62", "6f5a4a", "4f5f6f", "a0604a")))
    front_lit, side_lit = (1.05, 0.68) if (light.side < 0) == to_right else (0.8, 1.0)
    left, right = x - wide / 2, x + wide / 2
    inner, outer = (right, right + depth) if to_right else (left, left - depth)
    top = base - tall
    lift = np.float32((base - canvas.horizon) * 0.35)  # lines of the side run towards the horizon
    cast_shadow(canvas, x, base, wide * 0.75, 0.12)
    box = canvas.box(min(left, outer), top - roof, max(right, outer), base)
    y, xs = canvas.grid(box)
    brick = 1 + np.float32(rng.uniform(0.02, 0.08)) * canvas.cut("grains", box)
    cell = max(0.085, size * rng.uniform(0.16, 0.28))
    rows, columns = max(1, round(tall / cell)), max(1, round(wide / cell))
    glass = light.lit(rng, rng.choice(("2a3644", "3a4a5c", "52687a"))) if light.lamps < rng.random() else None
    pane = np.full((3, 1, 1), 0.0, np.float32) + np.array((1.0, 0.85, 0.5), np.float32).reshape(3, 1, 1)
    pane = pane if glass is None else glass

    def windows(u: np.ndarray, v: np.ndarray, across: int) -> np.ndarray:
        fu, fv = np.abs(u * across % 1 - 0.5), np.abs(v * rows % 1 - 0.5)
        scale = np.float32(canvas.height * cell)
        return np.clip((0.27 - fu) * scale + 0.5, 0, 1) * np.clip((0.29 - fv) * scale + 0.5, 0, 1)

    # The side, first: the front's border lies over it.
    s = (xs - np.float32(inner)) / np.float32(outer - inner)
    slope = lift * np.clip(s, 0, 1)
    side_top, side_base = top + slope * np.float32(0.5), base - slope
    v = (y - side_top) / np.maximum(side_base - side_top, 1e-3)
    side = wall * np.float32(side_lit) * brick
    side = side + (pane * np.float32(0.85) - side) * windows(s, v, max(1, round(depth / cell))) * np.float32(0.9)
    inside = np.minimum(np.minimum(s, 1 - s) * np.float32(depth), np.minimum(y - side_top, side_base - y))
    canvas.paint(box, canvas.cover(inside), light.hazed(side, near), BUILDING)
    u, v = (xs - np.float32(left)) / np.float32(wide), (y - np.float32(top)) / np.float32(tall)
    front = wall * np.float32(front_lit) * brick
    front = front + (pane - front) * windows(u, v, columns) * np.float32(0.9)
    if gable:
        slope = np.float32(roof) * (1 - np.abs(2 * u - 1))
        edge = np.float32(top) - slope
        front = front + (cover_colour - front) * canvas.cover(np.float32(0.05 * size) - (y - edge))
    else:
        edge = np.full_like(u, top)
        front = front * (1 - np.float32(0.3) * canvas.cover(np.float32(0.04 * size) - (y - edge)))
    inside = np.minimum(np.minimum(u, 1 - u) * np.float32(wide), np.minimum(y - edge, np.float32(base) - y))
    canvas.paint(box, canvas.cover(inside), light.hazed(front, near), BUILDING)


def paint_tree(canvas: Canvas, x: float, base: float, size: float) -> None:
    """A trunk and a crown of leaves: round, tiered or slender."""
    rng, light = canvas.rng, canvas.light
    near = canvas.nearness(base)
    kind = rng.choice(("round", "round", "conifer", "slender"))
    tall = size * rng.uniform(0.9, 1.3)
    wide = tall * {"round": rng.uniform(0.36, 0.5), "conifer": rng.uniform(0.25, 0.36), "slender": 0.17}[kind]
    trunk = tall * rng.uniform(0.15, 0.3)
    cast_shadow(canvas, x, base, wide * 0.8)
    thick = tall * 0.035 + 0.004
    box = canvas.box(x - thick, base - trunk * 1.5, x + thick, base)
    y, xs = canvas.grid(box)
    inside = np.minimum(thick - np.abs(xs - np.float32(x)), np.minimum(np.float32(base) - y, y - (base - trunk * 1.5)))
    canvas.paint(box, canvas.cover(inside), light.hazed(light.lit(rng, "5f4a3a"), near), TREE)
    top, foot = base - tall, base - trunk
    box = canvas.box(x - wide, top, x + wide, foot)
    y, xs = canvas.grid(box)
    leaves = canvas.cut("leaves", box)
    u, v = (xs - np.float32(x)) / np.float32(wide), (y - np.float32(top)) / np.float32(foot - top)
    if kind == "conifer":
        tiers = rng.choice((3, 4))
        inside = (0.08 + 0.8 * v + 0.16 * ((v * tiers) % 1) - np.abs(u)) * np.float32(0.7)
    elif kind == "slender":
        inside = 1 - u**2 - np.abs(2 * v - 1.05) ** np.float32(2.6)
    else:
        inside = 1 - u**2 - (2 * v - 1) ** 2
        for _ in range(2):
            cu, cv, r = rng.uniform(-0.5, 0.5), rng.uniform(0.3, 0.75), rng.uniform(0.45, 0.7)
            lobe = 1 - ((u - cu) / r) ** 2 - ((v - cv) / np.float32(0.7 * r)) ** 2
            inside = np.maximum(inside, lobe * np.float32(r))
    inside = np.minimum(inside + np.float32(0.1) * leaves, np.minimum(v, 1 - v) * 4)
    lit = 1 + np.float32(0.3 * light.side) * u + np.float32(0.25) * (0.5 - v) + np.float32(0.22) * leaves
    crown = light.material(rng, "forest") * np.maximum(lit, 0.15)
    canvas.paint(box, canvas.cover(inside * np.float32(wide * 0.5)), light.hazed(crown, near), TREE)


def paint_rock(canvas: Canvas, x: float, base: float, size: float) -> None:
    """A boulder with facets and cracks."""
    rng, light = canvas.rng, canvas.light
    near = canvas.nearness(base)
    wide, tall = size * rng.uniform(0.4, 0.7), size * rng.uniform(0.4, 0.8)
    cast_shadow(canvas, x, base, wide)
    box = canvas.box(x - wide * 1.25, base - tall * 1.25, x + wide * 1.25, base + 0.02)
    y, xs = canvas.grid(box)
    u, v = (xs - np.float32(x)) / np.float32(wide), (np.float32(base) - y) / np.float32(tall)
    outline = np.ones_like(u * v)
    for _ in range(4):  # flat cuts of a block
        angle, reach = rng.uniform(0.1, 3.0), rng.uniform(0.72, 0.98)
        outline = np.minimum(outline, reach - (u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle))))
    outline = np.minimum(np.minimum(outline, 0.95 - np.abs(u)), v)
    slopes, cracks = canvas.cut("slopes", box), canvas.cut("cracks", box)
    lit = 0.95 + np.float32(0.35 * light.side) * u + 0.25 * (v - 0.5)
    lit = lit * (1 + np.float32(0.12 * -light.side) * slopes + np.float32(0.12) * np.minimum(cracks, 0.6))
    body = light.material(rng, "rock") * np.maximum(lit, 0.15)
    canvas.paint(box, canvas.cover(outline * np.float32(wide)), light.hazed(body, near), ROCK)


def paint_vehicle(canvas: Canvas, x: float, base: float, size: float) -> None:
    """A car, van or lorry from the side: body, cabin, windows, wheels."""
    rng, light = canvas.rng, canvas.light
    near = canvas.nearness(base)
    kind = rng.choice(("car", "car", "van", "lorry"))
    long = size * {"car": 0.85, "van": 0.9, "lorry": 1.2}[kind] * rng.uniform(0.9, 1.1)
    tall = size * {"car": 0.36, "van": 0.5, "lorry": 0.6}[kind]
    flip = rng.choice((-1, 1))
    cast_shadow(canvas, x, base, long * 0.5, 0.16)
    box = canvas.box(x - long * 0.55, base - tall * 1.05, x + long * 0.55, base + 0.01)
    y, xs = canvas.grid(box)
    u, v = np.float32(flip) * (xs - np.float32(x)) / np.float32(long), (np.float32(base) - y) / np.float32(tall)
    paint, dark = light.lit(rng, rng.choice(PAINTS)), light.lit(rng, DARK)
    pane = light.lit(rng, rng.choice(("2f3f4f", "4a6070"))) + np.float32(0.12) * light.horizon
    soft = np.float32(canvas.height * tall)

    def part(inside: np.ndarray) -> np.ndarray:
        return np.clip(inside * soft + 0.5, 0, 1)

    low = np.minimum(np.minimum(v - 0.16, 0.58 - v), (0.5 - np.abs(u)) * 2)
    if kind == "car":
        cabin = np.minimum(np.minimum(v - 0.5, 1.0 - v), 0.36 - 0.22 * (v - 0.5) * 2 - np.abs(u + 0.05))
        glass = np.minimum(np.minimum(v - 0.6, 0.92 - v), np.minimum(cabin - 0.03, np.abs(u + 0.03) - 0.02))
        body = np.maximum(low, cabin)
    elif kind == "van":
        body = np.minimum(np.minimum(v - 0.16, 1.0 - v), np.minimum(0.5 + u, 0.56 - 0.16 * v - u) * 2)
        glass = np.minimum(np.minimum(v - 0.58, 0.88 - v), np.minimum(u - 0.12, body - 0.04))
    else:
        load = np.minimum(np.minimum(v - 0.24, 1.0 - v), np.minimum(0.5 + u, 0.2 - u) * 2)
        cab = np.minimum(np.minimum(v - 0.16, 0.82 - v), np.minimum(u - 0.23, 0.5 - u) * 2)
        body, glass = np.maximum(np.maximum(load, cab), np.minimum(low, 0.3 - v)), np.minimum(cab - 0.06, v - 0.5)
    wheel = np.float32(0.2)
    aspect = np.float32(long / tall)
    near_axle = np.minimum((u - 0.3) ** 2 * aspect**2 + (v - wheel) ** 2, (u + 0.3) ** 2 * aspect**2 + (v - wheel) ** 2)
    wheels = wheel - np.sqrt(near_axle)
    value = paint * (0.82 + np.float32(0.3) * np.clip(v, 0, 1))
    value = value + (pane - value) * part(glass)
    value = value + (dark - value) * part(wheels)
    hub = light.lit(rng, "9a9aa0")
    value = value + (hub - value) * part(wheels - 0.11)
    canvas.paint(box, part(np.maximum(body, wheels)), light.hazed(value, near), VEHICLE)
