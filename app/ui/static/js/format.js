/** Numbers with their units, times as the reader's clock shows them. */

import { el } from "./dom.js";

const number = new Intl.NumberFormat("en");
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** 1234567 -> "1,234,567". @param {number} value */
export const count = (value) => number.format(value);

/** "1 model", "2 models". @param {number} value @param {string} one @param {string} [many] */
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** 0.8342 -> "83 %"; whole, since a few images say no more. @param {number} share */
export const percent = (share) => `${Math.round(share * 100)} %`;

/** Of a probability, which is never quite 0 or 1. @param {number} p */
export function probability(p) {
  if (p >= 0.995) return "> 99 %";
  if (p < 0.005) return "< 1 %";
  return percent(p);
}

/** 1536 -> "1.5 KiB". @param {number} value */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let shown = value;
  while (shown >= 1024 && at < units.length - 1) {
    shown /= 1024;
    at += 1;
  }
  return `${at === 0 || shown >= 100 ? Math.round(shown) : shown.toFixed(1)} ${units[at]}`;
}

/** 4.2 ms, 1.3 s, 5 min 20 s, 3 h 10 min. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A point in time, in the reader's time zone. @param {string} iso */
export function when(iso) {
  const date = new Date(iso);
  return el("time", { datetime: date.toISOString(), title: date.toString() }, moment.format(date));
}

/** 11181642 -> "11.2 M". @param {number} value */
export function short(value) {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e3) return `${(value / 1e3).toFixed(1)} k`;
  return count(value);
}
