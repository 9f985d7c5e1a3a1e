/** Line drawings of 24 by 24, in the colour of the text around them. */

import { svg } from "./dom.js";

const PATHS = {
  spark: ["M12 3v4m0 10v4M3 12h4m10 0h4M6.3 6.3l2.2 2.2m7 7 2.2 2.2m0-11.4-2.2 2.2m-7 7-2.2 2.2"],
  pool: ["M4 7.5 12 4l8 3.5-8 3.5z", "m4 12 8 3.5 8-3.5", "m4 16.5 8 3.5 8-3.5"],
  build: ["M4 20 13 11", "M11 5.5 18.5 13l2-2L13 3.5z"],
  learner: ["M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", "M9 12l2.2 2.2L15.5 10"],
  lineage: ["M6 4v5a3 3 0 0 0 3 3h6a3 3 0 0 1 3 3v5", "M6 12v8"],
  map: ["M5 5v14h14", "M9 9h.1M13 13h.1M16 8h.1M10 15h.1"],
  key: ["M8 12a4 4 0 1 1-4 4 4 4 0 0 1 4-4z", "m11 13 8-8m-3 3 3 3"],
  add: ["M12 5v14M5 12h14"],
  close: ["m6 6 12 12M18 6 6 18"],
  camera: ["M4 8h3.5L9 5.5h6L16.5 8H20v11H4z", "M12 10a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6z"],
  upload: ["M12 16V5m-4.5 4L12 4.5 16.5 9", "M4 19.5h16"],
  image: ["M4 5h16v14H4z", "m4 16 5-5 4 4 3-2.5 4 3.5", "M15.5 8.5h.1"],
  copy: ["M9 9h11v11H9z", "M15 9V4H4v11h5"],
  dice: ["M5 5h14v14H5z", "M9 9h.1M15 9h.1M12 12h.1M9 15h.1M15 15h.1"],
  lock: ["M6 11h12v9H6z", "M8.5 11V8a3.5 3.5 0 0 1 7 0v3"],
  warn: ["M12 4 21 20H3z", "M12 10v4.5M12 17.2h.1"],
  download: ["M12 5v11m-4.5-4L12 16.5l4.5-4.5", "M4 19.5h16"],
  back: ["M15 5l-7 7 7 7"],
};

/** @param {keyof typeof PATHS} name @param {number} [size] in pixels */
export function icon(name, size = 20) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", width: size, height: size, class: "icon", "aria-hidden": "true", focusable: "false" },
    PATHS[name].map((d) => svg("path", { d })),
  );
}
