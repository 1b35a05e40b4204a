/** Images and videos of the user: read, images made smaller where they are huge, and turned into data: URLs. */

import { el } from "./dom.js";

const EDGE = 1536; // pixels; models make larger images smaller anyway, and the browser's storage is small
const KEPT = ["image/png", "image/jpeg", "image/webp", "image/gif"]; // sent as they are
const BYTES = 1 << 20;
const VIDEO = 32 << 20; // bytes: the server takes 50 MB, and base64 adds a third

/** The files of these kinds ("image", "video") among what was chosen, pasted or dropped. */
export function shownOf(transfer, kinds) {
  return [...(transfer?.files ?? [])].filter((file) => kinds.includes(file.type.split("/")[0]));
}

/** Whether a data: URL is a video's. */
export function isVideo(url) {
  return url.startsWith("data:video/");
}

/** An image or a video as an element. */
export function picture(url, name, attributes = {}) {
  if (isVideo(url)) return el("video", { src: url, "aria-label": name, controls: true, ...attributes });
  return el("img", { src: url, alt: name, ...attributes });
}

/** Return a file as a data: URL; throws where the browser cannot read an image, and for huge videos. */
export async function dataUrl(file) {
  if (file.type.startsWith("video/")) {
    if (file.size > VIDEO) throw new RangeError("too large");
    return encoded(file);
  }
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= BYTES && KEPT.includes(file.type)) return encoded(file);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // a JPEG has no transparency
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
