/**
 * Images that a person chose, read in this browser.
 *
 * Large ones are made small here: the network sees a few dozen pixels a side anyway, a phone's
 * photograph takes seconds to send, and what a camera notes beside it (place, time) stays behind.
 * No file name is kept.
 */

const TAKEN_AS_THEY_ARE = new Set(["image/png", "image/jpeg", "image/webp", "image/bmp"]);
const MOST_BYTES = 1024 * 1024;
const MOST_SIDE = 1024;
const AT_ONCE = 3; // decoded, a photograph takes 50 MB

let lastId = 0;

/**
 * @typedef {object} Picture
 * @property {number} id
 * @property {Blob} blob  what is sent
 * @property {string} url  of the blob, for this page alone
 * @property {string} [truth]  the class a drawn sample was drawn as
 */

/** @param {Blob} blob @param {string} [truth] @returns {Picture} */
export function pictureOf(blob, truth) {
  lastId += 1;
  return { id: lastId, blob, url: URL.createObjectURL(blob), truth };
}

/** Free the memory of pictures that are not shown any more. @param {Picture[]} pictures */
export function forget(pictures) {
  for (const picture of pictures) URL.revokeObjectURL(picture.url);
}

/**
 * The images among the files; how many of the others there are.
 * @param {Iterable<File>} files
 * @returns {Promise<{pictures: Picture[], refused: number}>}
 */
export async function readPictures(files) {
  const waiting = [...files].map((file, at) => ({ file, at }));
  const blobs = Array(waiting.length);
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) blobs[next.at] = await sendable(next.file);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const pictures = blobs.filter(Boolean).map((blob) => pictureOf(blob));
  return { pictures, refused: blobs.length - pictures.length };
}

async function sendable(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const { width, height } = bitmap;
  const asItIs = TAKEN_AS_THEY_ARE.has(file.type) && file.size <= MOST_BYTES;
  // The bytes without the name, and as they are now: a file may change or go after it was chosen.
  const blob = asItIs ? new Blob([await file.arrayBuffer()], { type: file.type }) : await redrawn(bitmap, width, height, file.type);
  bitmap.close();
  return blob;
}

function redrawn(bitmap, width, height, type) {
  const scale = Math.min(1, MOST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const kind = type === "image/png" ? "image/png" : "image/jpeg";
  return new Promise((resolve) => canvas.toBlob(resolve, kind, 0.92));
}

/**
 * What was dropped: loose files, and folders with the files in them (a folder is a class).
 * @param {DataTransfer} transfer
 * @returns {Promise<{files: File[], folders: {name: string, files: File[]}[]}>}
 */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folders = entries.filter((entry) => entry.isDirectory);
  if (!folders.length) return { files: [...transfer.files], folders: [] };
  const loose = entries.filter((entry) => entry.isFile);
  return {
    files: await Promise.all(loose.map(fileOf)),
    folders: await Promise.all(
      folders.map(async (folder) => ({ name: folder.name, files: await filesIn(folder) })),
    ),
  };
}

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

async function filesIn(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const entry of some) {
      if (entry.isFile && !entry.name.startsWith(".")) found.push(await fileOf(entry));
    }
  }
}
