"""Talking heads of the built-in corpus: a look, drawn once per clip, then moved and given a mouth in every frame.

The head is modelled as a height map lit from one side, on a canvas of twice the frame size, so that scaling it
down gives smooth edges. Shapes: canvas (448, 448, 4) premultiplied BGRA, frame (224, 224, 3) BGR, both uint8.
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from data.corpus.mouth import FPS, OPEN, Lips

SIZE = 224
_CANVAS = 2 * SIZE
_CX, _CY = 224.0, 236.0

# Lightest and darkest skin (hue, saturation, value) of each group; synthetic colours that describe no real person.
_SKIN = {
    "African": ((0.065, 0.55, 0.56), (0.055, 0.62, 0.30)),
    "Asian (East)": ((0.085, 0.30, 0.95), (0.080, 0.42, 0.74)),
    "Asian (South)": ((0.075, 0.45, 0.74), (0.065, 0.55, 0.48)),
    "Caucasian (American)": ((0.065, 0.28, 0.97), (0.065, 0.42, 0.78)),
    "Caucasian (European)": ((0.055, 0.24, 0.98), (0.065, 0.38, 0.84)),
}


@dataclass(frozen=True)
class Look:
    """Look of an identity: sizes in pixels of the canvas, colours (blue, green, red) 0-255, light as a unit vector."""

    half_width: float
    half_height: float
    jaw: float
    skin: np.ndarray
    hair: np.ndarray
    hairline: float
    long_hair: bool
    beard: float
    iris: np.ndarray
    eye_gap: float
    eye_size: float
    brow: float
    nose: float
    glasses: bool
    freckles: float
    clothes: np.ndarray
    room: np.ndarray
    light: np.ndarray
    ambient: float
    clutter: int
    lips: Lips


def _bgr(hue: float, saturation: float, value: float) -> np.ndarray:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return np.array([blue, green, red]) * 255


def draw_look(race: str, gender: str, rng: np.random.Generator) -> Look:
    """Draw the look of an identity."""
    woman = gender == "women"
    light_skin, dark_skin = (np.array(c) for c in _SKIN[race])
    skin = _bgr(*(light_skin + rng.uniform() * (dark_skin - light_skin)))
    fair = race.startswith("Caucasian")
    hair = _bgr(rng.uniform(0.03, 0.11), rng.uniform(0.3, 0.75), rng.uniform(0.12, 0.7 if fair else 0.22))
    iris = _bgr(rng.choice([0.08, 0.3, 0.58]) if fair else 0.07, 0.55, rng.uniform(0.25, 0.6 if fair else 0.3))
    red = skin * (0.72, 0.66, 0.9) + (14, 0, 22) if not woman else skin * (0.6, 0.5, 0.92) + rng.uniform(0, 20, 3)
    half_width = rng.uniform(126, 148)
    direction = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.7, -0.2), 1.0])
    lips = Lips(
        half_width=half_width * rng.uniform(0.34, 0.42),
        upper=rng.uniform(8, 14),
        lower=rng.uniform(12, 19),
        opening=rng.uniform(40, 54),
        colour=tuple(np.clip(red, 20, 230).tolist()),
        teeth=tuple((np.array([205, 222, 228]) * rng.uniform(0.85, 1.05)).tolist()),
    )
    return Look(
        half_width=half_width,
        half_height=rng.uniform(172, 190),
        jaw=rng.uniform(0.1, 0.26) if woman else rng.uniform(0.02, 0.2),
        skin=skin,
        hair=hair,
        hairline=rng.uniform(0.52, 0.7),
        long_hair=bool(woman and rng.random() < 0.75),
        beard=0.0 if woman else float(max(0.0, rng.uniform(-0.6, 0.7))),
        iris=iris,
        eye_gap=rng.uniform(0.40, 0.47),
        eye_size=rng.uniform(24, 30),
        brow=rng.uniform(4, 7) if woman else rng.uniform(6, 11),
        nose=rng.uniform(0.8, 1.25),
        glasses=bool(rng.random() < 0.2),
        freckles=float(rng.uniform(0.01, 0.05)),
        clothes=_bgr(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.85)),
        room=_bgr(rng.uniform(), rng.uniform(0.03, 0.25), rng.uniform(0.35, 0.85)),
        light=direction / np.linalg.norm(direction),
        ambient=rng.uniform(0.45, 0.65),
        clutter=int(rng.integers(3, 16)),
        lips=lips,
    )


def _bump(x: np.ndarray, y: np.ndarray, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)


def _noise(rng: np.random.Generator, blur: tuple[float, float]) -> np.ndarray:
    """Draw a canvas of smooth noise with standard deviation 1; `blur` is its grain (x, y) in pixels."""
    white = rng.standard_normal((_CANVAS, _CANVAS)).astype(np.float32)
    noise = cv2.GaussianBlur(white, (0, 0), sigmaX=blur[0], sigmaY=blur[1])
    return noise / noise.std()


def _over(canvas: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite a colour (3,) or (H, W, 3) over a premultiplied float BGRA canvas."""
    alpha = alpha[..., None]
    layer = np.concatenate([np.broadcast_to(colour, (*alpha.shape[:2], 3)), np.full(alpha.shape, 255.0)], axis=2)
    return canvas * (1 - alpha) + layer * alpha


def _edge(inside: np.ndarray, softness: float) -> np.ndarray:
    """Return the coverage (0 to 1) of a shape, given as a field that is positive inside."""
    return np.clip(inside / softness + 0.5, 0, 1)


class Head:
    """The head of one clip: drawn once, then posed and given a mouth and eyes for every frame."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        self.look = look
        y, x = np.mgrid[0:_CANVAS, 0:_CANVAS].astype(np.float32)
        self._x, self._y = (x - _CX) / look.half_width, (y - _CY) / look.half_height
        self.mouth = (_CX, _CY + 0.52 * look.half_height)
        self._eye_y = _CY - 0.10 * look.half_height
        base = self._skin(rng)
        base = self._hair(base, rng)
        self._base = np.clip(base, 0, 255).astype(np.uint8)
        self._draw_features()
        self._lids = [self._eyes(closed) for closed in (0.0, 0.35, 0.7, 1.0)]
        self._background = self._room(rng)
        self._jaw_map(x, y)

    def _outline(self) -> np.ndarray:
        """Return a field that is 1 at the middle of the face and 0 on its outline."""
        lower = np.clip(self._y, 0, 1)
        return 1 - np.abs(self._x / (1 - self.look.jaw * lower**1.5)) ** 2.4 - np.abs(self._y) ** 2.4

    def _skin(self, rng: np.random.Generator) -> np.ndarray:
        look, x, y = self.look, self._x, self._y
        inside = self._outline()
        height = 0.95 * np.sqrt(np.clip(inside, 0, None) + 1e-3)
        ridge = np.exp(-((x / (0.09 + 0.07 * np.clip(y + 0.2, 0, 1))) ** 2))
        height += look.nose * 0.26 * ridge * np.clip((y + 0.15) / 0.36, 0, 1) * _edge(0.23 - y, 0.10)
        for side in (-1, 1):
            height += look.nose * 0.09 * _bump(x, y, 0.13 * side, 0.2, 0.08, 0.06)
            height -= 0.16 * _bump(x, y, look.eye_gap * side, -0.1, 0.26, 0.13)
            height += 0.10 * _bump(x, y, 0.55 * side, 0.16, 0.25, 0.18)
            height -= 0.02 * _bump(x, y, side * (0.3 + 0.35 * (y - 0.2)), 0.36, 0.04, 0.16)
        height += 0.08 * _bump(x, y, 0, -0.27, 0.6, 0.08)
        height += 0.10 * _bump(x, y, 0, 0.52, 0.34, 0.12) - 0.07 * _bump(x, y, 0, 0.70, 0.3, 0.05)
        height += 0.10 * _bump(x, y, 0, 0.84, 0.25, 0.10)
        height = cv2.GaussianBlur(height * look.half_width, (0, 0), 3)
        dy, dx = np.gradient(height)
        lit = (-dx * look.light[0] - dy * look.light[1] + look.light[2]) / np.sqrt(dx**2 + dy**2 + 1)
        shade = look.ambient + (1.08 - look.ambient) * np.clip(lit, 0, 1)
        shine = np.clip(lit, 0, 1) ** 30 * 18
        shade *= 1 + 0.02 * _noise(rng, (14, 14)) + 0.012 * _noise(rng, (1.5, 1.5))
        shade *= 1 - look.freckles * np.clip(_noise(rng, (2.5, 2.5)) - 1.2, 0, 2)
        colour = look.skin * shade[..., None] + shine[..., None]
        for side in (-1, 1):
            colour += (_bump(x, y, 0.5 * side, 0.22, 0.3, 0.2) * 10)[..., None] * np.array([-0.6, -0.8, 0.6])
        canvas = self._long_hair(rng)
        for side in (-1, 1):  # ears, behind the cheeks
            ear = 1 - ((x - 1.0 * side) / 0.14) ** 2 - ((y - 0.02) / 0.2) ** 2
            canvas = _over(canvas, look.skin * 0.78, _edge(ear, 0.15))
        canvas = _over(canvas, colour, _edge(inside, 0.045))
        if look.beard > 0:
            chin = _edge(y - 0.30 - 0.5 * np.exp(-((x / 0.75) ** 2)) + 0.55 * _bump(x, y, 0, 0.38, 0.5, 0.07), 0.3)
            stubble = look.beard * chin * _edge(inside, 0.1) * (0.75 + 0.2 * _noise(rng, (1.2, 2.0)))
            canvas = _over(canvas, look.hair * 0.7, np.clip(stubble, 0, 1))
        return canvas

    def _long_hair(self, rng: np.random.Generator) -> np.ndarray:
        """Return the canvas with the hair behind the head; empty for short hair."""
        canvas = np.zeros((_CANVAS, _CANVAS, 4))
        if not self.look.long_hair:
            return canvas
        strands = _noise(rng, (2.2, 24))
        width = 1.16 + 0.1 * np.clip(self._y, -0.5, 1) + 0.02 * strands
        colour = self.look.hair * np.clip(0.75 + 0.1 * strands, 0.3, 2)[..., None]
        return _over(canvas, colour, _edge(width - np.abs(self._x), 0.05) * _edge(self._y + 0.4, 0.3))

    def _hair(self, canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        look, x, y = self.look, self._x, self._y
        strands = _noise(rng, (2.0, 18))
        shine = 1 + 0.12 * strands + 0.35 * np.exp(-(((y + 0.95 - 0.25 * x * look.light[0]) / 0.12) ** 2))
        colour = look.hair * np.clip(shine, 0.3, 2)[..., None]
        cap = 1 - np.abs(x / 1.1) ** 2.5 - np.abs((y + 0.05) / 1.12) ** 2.5
        line = -look.hairline + 0.55 * np.abs(x) ** 3 + 0.03 * strands + 0.1 * x * np.sign(look.light[0])
        above = _edge(line - y, 0.04)
        return _over(canvas, colour, _edge(cap, 0.05) * above)

    def _draw_features(self) -> None:
        """Draw nostrils, brows and glasses, which only move with the head."""
        look, canvas = self.look, self._base
        w, h = look.half_width, look.half_height
        for side in (-1, 1):
            nostril = (round(_CX + side * 0.075 * w), round(_CY + 0.235 * h))
            dark = (*(look.skin * 0.45).tolist(), 255)
            cv2.ellipse(canvas, nostril, (7, 4), -15 * side, 0, 360, dark, -1, cv2.LINE_AA)
            t = np.linspace(-1, 1, 15)
            arch = np.stack([_CX + side * (look.eye_gap + 0.2 * t) * w, _CY + (-0.27 - 0.05 * (1 - t**2)) * h], 1)
            brow = (*(0.7 * look.hair + 0.15 * look.skin).tolist(), 255)
            points = np.round(arch * 16).astype(np.int32)
            cv2.polylines(canvas, [points], False, brow, round(look.brow), cv2.LINE_AA, 4)
            if look.glasses:
                centre = (round(_CX + side * look.eye_gap * w), round(self._eye_y + 4))
                cv2.ellipse(canvas, centre, (46, 36), 0, 0, 360, (40, 36, 34, 255), 4, cv2.LINE_AA)
        if look.glasses:
            left, right = (round(_CX + s * (look.eye_gap * w - 45)) for s in (-1, 1))
            cv2.line(canvas, (left, round(self._eye_y)), (right, round(self._eye_y)), (40, 36, 34, 255), 4, cv2.LINE_AA)

    def _eyes(self, closed: float) -> np.ndarray:
        """Return the strip of the canvas with the eyes; `closed` is the share (0 to 1) that the lids are closed."""
        look = self.look
        top = round(self._eye_y) - 32
        strip = self._base[top : top + 64].copy()
        t = np.linspace(-1, 1, 21)
        dome = 1 - t**2
        size = look.eye_size
        for side in (-1, 1):
            cx, cy = _CX + side * look.eye_gap * look.half_width, 32.0
            low = cy + 0.32 * size * dome
            high = cy - 0.5 * size * dome * (1 - closed) + 0.27 * size * dome * closed
            outline = np.concatenate([np.stack([cx + size * t, high], 1), np.stack([cx + size * t, low], 1)[::-1]])
            mask = np.zeros(strip.shape[:2], np.uint8)
            cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
            eye = np.full(strip.shape, 255, np.uint8)
            eye[:] = (214, 222, 226, 255)
            middle = (round(cx), round(cy - 1))
            cv2.circle(eye, middle, round(0.46 * size), (*look.iris.tolist(), 255), -1, cv2.LINE_AA)
            cv2.circle(eye, middle, round(0.22 * size), (18, 16, 16, 255), -1, cv2.LINE_AA)
            glint = (round(cx + 5 * np.sign(look.light[0])), round(cy - 6))
            cv2.circle(eye, glint, 3, (250, 250, 250, 255), -1, cv2.LINE_AA)
            alpha = mask[..., None] / 255.0
            strip = (strip * (1 - alpha) + eye * alpha).astype(np.uint8)
            for edge, thick, tone in ((high, 4, 0.25), (low, 2, 0.6)):
                line = np.round(np.stack([cx + size * t, edge], 1) * 16).astype(np.int32)
                cv2.polylines(strip, [line], False, (*(look.skin * tone).tolist(), 255), thick, cv2.LINE_AA, 4)
        return strip

    def _room(self, rng: np.random.Generator) -> np.ndarray:
        """Return the background (224, 224, 3): a room out of focus, neck and shoulders."""
        look = self.look
        slope = np.linspace(1.1, 0.75, _CANVAS)[:, None, None] * np.linspace(0.9, 1.1, _CANVAS)[None, :, None]
        scene: np.ndarray = (look.room * slope).astype(np.float32)
        for _ in range(look.clutter):
            corner, size = rng.integers(-60, _CANVAS, 2), rng.integers(20, 170, 2)
            colour = (look.room * rng.uniform(0.4, 1.4) + rng.uniform(-40, 40, 3)).tolist()
            cv2.rectangle(scene, corner.tolist(), (corner + size).tolist(), colour, -1)
        scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(2, 9))
        shoulder = _CY + 0.98 * look.half_height
        neck = np.array([[_CX - 74, 300], [_CX + 74, 300], [_CX + 88, _CANVAS], [_CX - 88, _CANVAS]])
        cv2.fillPoly(scene, [np.round(neck * 16).astype(np.int32)], (look.skin * 0.62).tolist(), cv2.LINE_AA, 4)
        t = np.linspace(-1, 1, 41)
        body = np.stack([_CX + 235 * t, shoulder - 40 + 60 * np.abs(t) ** 3 + 34 * np.exp(-((t / 0.3) ** 2))], 1)
        body = np.concatenate([body, [[_CANVAS + 20, _CANVAS], [-20, _CANVAS]]])
        cv2.fillPoly(scene, [np.round(body * 16).astype(np.int32)], look.clothes.tolist(), cv2.LINE_AA, 4)
        textured = np.clip(scene * (1 + 0.03 * _noise(rng, (3, 3))[..., None]), 0, 255).astype(np.uint8)
        return cv2.resize(textured, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    def _jaw_map(self, x: np.ndarray, y: np.ndarray) -> None:
        """Prepare the movement of the lower face when the mouth opens: none above the lips, full at the chin."""
        top = round(self.mouth[1]) - 24
        x, y = x[top:], y[top:]
        ramp = np.clip((y - self.mouth[1]) / 44, 0, 1)
        beside = np.clip((1.0 - np.abs(self._x[top:])) / 0.3, 0, 1)
        self._jaw_top, self._jaw_x, self._jaw_y = top, np.ascontiguousarray(x), y - top
        self._jaw = (ramp * ramp * (3 - 2 * ramp) * beside * beside * (3 - 2 * beside)).astype(np.float32)

    def frame(self, pose: np.ndarray, shape: np.ndarray) -> np.ndarray:
        """Draw a frame (224, 224, 3). `pose` (5,): shift x, y, turn (degrees), size, closed eyes; `shape`: (5,)."""
        canvas = self._base.copy()
        drop = 0.45 * self.look.lips.opening * shape[OPEN]
        lower = canvas[self._jaw_top :]
        canvas[self._jaw_top :] = cv2.remap(
            lower,
            self._jaw_x,
            self._jaw_y - np.float32(drop) * self._jaw,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self.look.lips.draw(canvas, self.mouth, shape)
        top = round(self._eye_y) - 32
        canvas[top : top + 64] = self._lids[round(float(pose[4]) * (len(self._lids) - 1))]
        head = cv2.warpAffine(canvas, self.placement(pose), (SIZE, SIZE), flags=cv2.INTER_AREA)
        see_through = cv2.cvtColor(255 - head[..., 3], cv2.COLOR_GRAY2BGR)
        return cv2.add(np.ascontiguousarray(head[..., :3]), cv2.multiply(self._background, see_through, scale=1 / 255))

    def placement(self, pose: np.ndarray) -> np.ndarray:
        """Return the matrix (2, 3) from the canvas to the frame."""
        matrix = cv2.getRotationMatrix2D((_CX, _CY + 120), float(pose[2]), 0.5 * float(pose[3]))
        matrix[:, 2] += np.array([SIZE / 2 - _CX, SIZE / 2 + 62 - (_CY + 120)]) + pose[:2]
        return matrix


def draw_motion(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Draw poses (frames, 5) of a head that sways, nods and blinks; see `Head.frame`."""
    time = np.arange(frames) / FPS
    poses = np.zeros((frames, 5))
    lively = rng.uniform(0.5, 1.5)
    for column, reach in enumerate(lively * np.array([4.0, 3.0, 3.0, 0.015])):
        for _ in range(3):
            wave = np.sin(2 * np.pi * (rng.uniform(0.1, 0.7) * time + rng.uniform()))
            poses[:, column] += reach * rng.uniform(0.2, 0.6) * wave
    poses[:, 3] += 1
    blink = rng.uniform(0.3, 2.5)
    while blink < time[-1]:
        poses[:, 4] = np.maximum(poses[:, 4], np.clip(1.5 - np.abs(time - blink) / 0.06, 0, 1))
        blink += rng.uniform(1.5, 4.0)
    return poses
