/** Going over a plane with the arrow keys, so that every place is reached. */

/** Along which axis a key goes, and in which sense. @type {Record<string, ["x" | "y", number]>} */
const WAYS = { ArrowRight: ["x", 1], ArrowLeft: ["x", -1], ArrowUp: ["y", 1], ArrowDown: ["y", -1] };

/**
 * The place that comes next along a key's axis; -1 where none does, or the key means nothing here.
 *
 * The nearest one would feel more natural, and leave some out that others always hide.
 * @param {{x: number, y: number}[]} places  y grows upwards
 * @param {number} from
 * @param {string} key  of a keyboard event
 */
export function neighbour(places, from, key) {
  if (!(key in WAYS)) return -1;
  const [axis, sense] = WAYS[key];
  const order = places.map((_, at) => at).sort((a, b) => places[a][axis] - places[b][axis] || a - b);
  return order[order.indexOf(from) + sense] ?? -1;
}
