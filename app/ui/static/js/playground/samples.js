/**
 * Sample images, drawn here by chance: no photograph is anybody's, and any meta-learner takes them.
 */

import { pictureOf } from "./pictures.js";

const SIDE = 96;

/** @typedef {() => number} Chance  from 0 up to 1 */

/** The same numbers for the same seed (mulberry32). @param {number} seed @returns {Chance} */
export function chanceOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const between = (chance, low, high) => low + chance() * (high - low);

/** @type {Record<string, (draw: CanvasRenderingContext2D, chance: Chance) => void>} */
const PATTERNS = {
  stripes(draw, chance) {
    const step = between(chance, 9, 14);
    turned(draw, between(chance, -0.35, 0.35), () => {
      for (let x = -SIDE; x < SIDE; x += step) draw.fillRect(x, -SIDE, step / 2, 2 * SIDE);
    });
  },
  dots(draw, chance) {
    const step = between(chance, 15, 20);
    turned(draw, between(chance, -0.5, 0.5), () => {
      for (let x = -SIDE; x < SIDE; x += step) {
        for (let y = -SIDE; y < SIDE; y += step) disc(draw, x, y, step * between(chance, 0.22, 0.3));
      }
    });
  },
  rings(draw, chance) {
    const step = between(chance, 9, 13);
    draw.lineWidth = step / 2.2;
    const [x, y] = [between(chance, 36, 60), between(chance, 36, 60)];
    for (let radius = step; radius < 1.2 * SIDE; radius += step) {
      draw.beginPath();
      draw.arc(x, y, radius, 0, 2 * Math.PI);
      draw.stroke();
    }
  },
  checkers(draw, chance) {
    const step = between(chance, 11, 16);
    turned(draw, between(chance, -0.25, 0.25), () => {
      for (let i = -10; i < 10; i += 1) {
        for (let j = -10; j < 10; j += 1) if ((i + j) % 2 === 0) draw.fillRect(i * step, j * step, step, step);
      }
    });
  },
};

/** Corners of each digit's pen strokes, in a square of 10. */
const DIGITS = {
  three: [[2, 2, 5, 1, 8, 3, 5, 5, 8, 7, 5, 9, 2, 8]],
  four: [[6, 9, 6, 1, 2, 6, 8, 6]],
  seven: [[2, 1.5, 8, 1.5, 4, 9]],
  eight: [[5, 5, 2.5, 3, 5, 1, 7.5, 3, 5, 5, 2, 7, 5, 9, 8, 7, 5, 5]],
};

const FAMILIES = {
  patterns: Object.fromEntries(Object.entries(PATTERNS).map(([name, paint]) => [name, coloured(paint)])),
  digits: Object.fromEntries(Object.entries(DIGITS).map(([name, strokes]) => [name, written(strokes)])),
};

/** Names of the families there are, as a person reads them. */
export const SAMPLES = { patterns: "Patterns", digits: "Handwriting" };

/**
 * Classes with three images each, and three queries of each class in mixed order.
 * @param {keyof typeof SAMPLES} family
 * @param {number} seed
 */
export function drawSamples(family, seed) {
  const chance = chanceOf(seed);
  const classes = [];
  const queries = [];
  for (const [name, paint] of Object.entries(FAMILIES[family])) {
    const pictures = [];
    for (let i = 0; i < 3; i += 1) pictures.push(pictureOf(drawn(paint, chance)));
    for (let i = 0; i < 2; i += 1) queries.push({ at: chance(), picture: pictureOf(drawn(paint, chance), name) });
    classes.push({ name, pictures });
  }
  return { classes, queries: queries.sort((a, b) => a.at - b.at).map((query) => query.picture) };
}

/** At once, and not by `toBlob`, which waits until the browser is idle: seconds for twenty. */
function drawn(paint, chance) {
  const canvas = document.createElement("canvas");
  canvas.width = SIDE;
  canvas.height = SIDE;
  const draw = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  paint(draw, chance);
  const encoded = atob(canvas.toDataURL("image/png").split(",")[1]);
  return new Blob([Uint8Array.from(encoded, (letter) => letter.charCodeAt(0))], { type: "image/png" });
}

function coloured(paint) {
  return (draw, chance) => {
    const hue = between(chance, 0, 360);
    draw.fillStyle = `hsl(${hue} 45% ${between(chance, 78, 90)}%)`;
    draw.fillRect(0, 0, SIDE, SIDE);
    draw.fillStyle = draw.strokeStyle = `hsl(${hue + between(chance, 120, 240)} 55% ${between(chance, 25, 40)}%)`;
    draw.save();
    paint(draw, chance);
    draw.restore();
  };
}

function written(strokes) {
  return (draw, chance) => {
    draw.fillStyle = "#fbfaf6";
    draw.fillRect(0, 0, SIDE, SIDE);
    draw.strokeStyle = "#23222b";
    draw.lineWidth = between(chance, 5, 9);
    draw.lineCap = draw.lineJoin = "round";
    const scale = between(chance, 6.2, 7.8);
    turned(draw, between(chance, -0.18, 0.18), () => {
      for (const corners of strokes) pen(draw, corners, scale, chance);
    });
  };
}

function pen(draw, corners, scale, chance) {
  const points = [];
  for (let i = 0; i < corners.length; i += 2) {
    const wobble = () => between(chance, -0.4, 0.4);
    points.push([(corners[i] - 5 + wobble()) * scale, (corners[i + 1] - 5 + wobble()) * scale]);
  }
  draw.beginPath();
  draw.moveTo(...points[0]);
  for (const point of points.slice(1)) draw.lineTo(...point);
  draw.stroke();
}

function turned(draw, angle, paint) {
  draw.save();
  draw.translate(SIDE / 2, SIDE / 2);
  draw.rotate(angle);
  paint();
  draw.restore();
}

function disc(draw, x, y, radius) {
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}
