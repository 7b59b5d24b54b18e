"use strict";
// Shows the scenes in the element #data, one panel per run: points and boxes with WebGL 2, boxes in the camera image, a
// table of the boxes, a slider for the score. A box is drawn or not by comparing its score with a uniform, so that the
// slider rebuilds nothing.

const OBJECT = 10000; // added to the index of an object, where a number names a prediction or an object
const NEAR_M = 0.5, FAR_M = 400, FIELD_OF_VIEW = Math.PI / 4, MIN_DEPTH_M = 0.1, LINE_PX = 1.8;
const FOLLOW_M = 5; // how far a followed box may move between two scans
const HEADING_PX = 40; // of a panel of images
const MAX_STRIP = 0.35; // share of the height that the camera image takes below a scan
const MIN_REVERSAL = 0.005;
// Corners of a box: bit 0 front, bit 1 left, bit 2 top. Pairs of corners are edges; a last line points forward.
const EDGES = [0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 1, 3, 4, 6, 5, 7, 0, 4, 1, 5, 2, 6, 3, 7];

const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = data.colours; // in the order that the shader knows them by
const KINDS = Object.keys(COLOURS), VERDICTS = KINDS.slice(0, 3); // the first are verdicts, numbers in the data
const element = (id) => document.getElementById(id);
const canvas = element("view");
const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
const isScans = data.scenes.some((scene) => scene.points || scene.projection) || !data.scenes.some((scene) => scene.picture);
const state = { scene: 0, run: 0, selected: -1, other: -1, minScore: 0.3, camera: null, follow: false, reversal: -1 };
const current = () => data.scenes[state.scene];

// ---- What the scenes say

function itemOf(scene, run, index) {
  return index >= OBJECT ? scene.objects[index - OBJECT] : (scene.runs[run] || [])[index];
}

function scoreOfObjects(scene, run) { // score of the box that is matched with each object, or -1
  const scores = (scene.objects || []).map(() => -1);
  for (const box of scene.runs[run] || []) if (box.object >= 0) scores[box.object] = Math.max(scores[box.object], box.score);
  return scores;
}

function rows(scene, run) { // predictions above the threshold, then objects that none of them matches
  const boxes = scene.runs[run];
  if (!boxes) return [];
  const found = boxes.flatMap((item, index) =>
    item.score >= state.minScore ? [{ item, index, verdict: scene.objects ? VERDICTS[item.verdict] : "predicted" }] : []);
  const scores = scoreOfObjects(scene, run);
  const missed = (scene.objects || []).flatMap((item, index) =>
    item.counted[run] && scores[index] < state.minScore ? [{ item, index: OBJECT + index, verdict: "missed" }] : []);
  return [...found, ...missed];
}

// Pairs of boxes of a scan and class in which the one with less overlap has the higher score, the worst first.
function reversals() {
  const found = [];
  data.scenes.forEach((scene, at) => scene.objects && scene.runs.forEach((boxes, run) => {
    const shown = (boxes || []).flatMap((box, index) =>
      box.score >= state.minScore && VERDICTS[box.verdict] !== "uncounted" ? [{ ...box, index }] : []);
    shown.forEach((above, i) => shown.slice(i + 1).forEach((below) => {
      const loss = (above.score - below.score) * (below.overlap - above.overlap);
      if (above.name === below.name && loss > MIN_REVERSAL) found.push({ loss, at, run, above, below });
    }));
  }));
  return found.sort((a, b) => b.loss - a.loss);
}

function corners([x, y, z, length, width, height, yaw]) {
  const [cos, sin] = [Math.cos(yaw), Math.sin(yaw)];
  return [...Array(8).keys()].map((corner) => {
    const [along, across] = [((corner & 1) - 0.5) * length, (((corner >> 1) & 1) - 0.5) * width];
    return [x + along * cos - across * sin, y + along * sin + across * cos, z + (corner >> 2) * height];
  });
}

function lines(box) { // pairs of points: the edges, and from the middle of the top to that of its front edge
  const corner = corners(box);
  const middle = (a, b) => corner[a].map((value, axis) => (value + corner[b][axis]) / 2);
  const points = [...EDGES.map((i) => corner[i]), middle(4, 7), middle(5, 7)];
  return Array.from({ length: points.length / 2 }, (_, i) => [points[2 * i], points[2 * i + 1]]);
}

function kindOf(scene, run, item, index, score) { // name of a box's colour
  if (index < OBJECT) return scene.objects ? VERDICTS[item.verdict] : "predicted";
  if (!item.counted[run]) return "ignored";
  return score < state.minScore ? "missed" : "object";
}

function ramp(t) { // as the shader's
  const part = (a, b, c) => Math.round(255 * Math.min(1, Math.max(0.15, a - Math.abs(4 * t - b))));
  return `rgb(${part(1.5, 3.2)}, ${part(1.4, 2.0)}, ${part(1.5, 0.9)})`;
}

function rgb(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16) / 255);
}

// ---- WebGL

const POINT_VERTEX = `#version 300 es
in vec3 position; in float intensity;
uniform mat4 camera; uniform vec3 low, span; uniform float colour, size;
out vec3 shade;
vec3 ramp(float t) {
  t = clamp(t, 0.0, 1.0);
  return clamp(vec3(1.5 - abs(4.0 * t - 3.2), 1.4 - abs(4.0 * t - 2.0), 1.5 - abs(4.0 * t - 0.9)), 0.15, 1.0);
}
void main() {
  vec3 metres = low + position * span;
  gl_Position = camera * vec4(metres, 1.0);
  gl_PointSize = clamp(size / gl_Position.w, 1.0, 4.0);
  shade = colour > 0.5 ? mix(vec3(0.25, 0.28, 0.35), vec3(1.0), sqrt(intensity)) : ramp((metres.z + 2.0) / 3.5);
}`;
// A line is two triangles, because lines of WebGL are one pixel wide.
const LINE_VERTEX = `#version 300 es
in vec3 start, end; in vec2 corner; in vec4 look; // score; kind; index; is an object
uniform mat4 camera; uniform float minScore, byScore; uniform vec2 shown, selected, pixel; uniform vec3 colours[7];
out vec3 shade;
vec3 ramp(float t) {
  return clamp(vec3(1.5 - abs(4.0 * t - 3.2), 1.4 - abs(4.0 * t - 2.0), 1.5 - abs(4.0 * t - 0.9)), 0.15, 1.0);
}
void main() {
  bool isObject = look.w > 0.5;
  bool hidden = isObject ? shown.x < 0.5 : shown.y < 0.5 || look.x < minScore;
  int kind = int(look.y + 0.5);
  if (kind == 4 && look.x < minScore) kind = 5; // missed unless a prediction above the threshold matches it
  bool isSelected = any(lessThan(abs(selected - look.z), vec2(0.5)));
  shade = isSelected ? vec3(1.0) : byScore > 0.5 && !isObject ? ramp(look.x) : colours[kind];
  vec4 a = camera * vec4(start, 1.0), b = camera * vec4(end, 1.0);
  const float near = 0.1;
  if (hidden || (a.w < near && b.w < near)) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
  if (a.w < near) a = mix(a, b, (near - a.w) / (b.w - a.w));
  if (b.w < near) b = mix(b, a, (near - b.w) / (a.w - b.w));
  vec2 along = normalize((b.xy / b.w - a.xy / a.w) / pixel + 1e-6);
  vec4 place = corner.x < 0.5 ? a : b;
  place.xy += vec2(-along.y, along.x) * pixel * corner.y * (isSelected ? 1.6 : 1.0) * place.w;
  gl_Position = place;
}`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec3 shade; out vec4 pixel;
void main() { pixel = vec4(shade, 1.0); }`;

function program(vertex) {
  const result = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(result, shader);
  }
  gl.linkProgram(result);
  if (!gl.getProgramParameter(result, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(result));
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(result, gl.ACTIVE_UNIFORMS); i++) {
    const name = gl.getActiveUniform(result, i).name;
    uniforms[name.replace("[0]", "")] = gl.getUniformLocation(result, name);
  }
  return { id: result, uniforms };
}

function bytes(id) { // of an element that holds base64
  const binary = atob(element(id).dataset.base64);
  const result = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) result[i] = binary.charCodeAt(i);
  return result;
}

function attribute(owner, name, values, size, type, normalized) {
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  const location = gl.getAttribLocation(owner.id, name);
  gl.enableVertexAttribArray(location);
  gl.vertexAttribPointer(location, size, type, normalized, 0, 0);
}

function vertexArray(fill) {
  const result = gl.createVertexArray();
  gl.bindVertexArray(result);
  fill();
  return result;
}

// What the GPU holds of a scene is made when the scene is first shown.
function upload(scene, at) {
  if (scene.gpu || !gl || !isScans) return;
  scene.gpu = { lines: scene.runs.map((_, run) => uploadLines(scene, run)) };
  if (!scene.points) return;
  const content = bytes(`points-${at}`), split = 6 * scene.points.count;
  scene.gpu.points = vertexArray(() => {
    attribute(pointProgram, "position", new Uint16Array(content.buffer, 0, split / 2), 3, gl.UNSIGNED_SHORT, true);
    attribute(pointProgram, "intensity", content.subarray(split), 1, gl.UNSIGNED_BYTE, true);
  });
}

function uploadLines(scene, run) {
  const columns = { start: [], end: [], corner: [], look: [] };
  const scores = scoreOfObjects(scene, run);
  const add = (item, kind, score, index) => {
    for (const [start, end] of lines(item.box))
      for (const [at, side] of [[0, -1], [0, 1], [1, -1], [1, -1], [0, 1], [1, 1]]) {
        columns.start.push(...start);
        columns.end.push(...end);
        columns.corner.push(at, side);
        columns.look.push(score, KINDS.indexOf(kind), index, index >= OBJECT);
      }
  };
  (scene.objects || []).forEach((object, index) =>
    add(object, object.counted[run] ? "object" : "ignored", scores[index], OBJECT + index));
  (scene.runs[run] || []).forEach((box, index) => add(box, kindOf(scene, run, box, index, box.score), box.score, index));
  const sizes = { start: 3, end: 3, corner: 2, look: 4 };
  return { count: columns.corner.length / 2, array: vertexArray(() => {
    for (const [name, values] of Object.entries(columns))
      attribute(lineProgram, name, new Float32Array(values), sizes[name], gl.FLOAT, false);
  }) };
}

function multiply(a, b) { // 4 x 4, columns first
  return Float32Array.from({ length: 16 }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += a[k * 4 + (i % 4)] * b[(i >> 2) * 4 + k];
    return sum;
  });
}

function cameraMatrix(width, height) {
  const { target, distance, azimuth, elevation } = state.camera;
  const focal = 1 / Math.tan(FIELD_OF_VIEW / 2), depth = NEAR_M - FAR_M;
  const perspective = [focal * height / width, 0, 0, 0, 0, focal, 0, 0,
    0, 0, (NEAR_M + FAR_M) / depth, -1, 0, 0, 2 * NEAR_M * FAR_M / depth, 0];
  const back = [Math.cos(elevation) * Math.cos(azimuth), Math.cos(elevation) * Math.sin(azimuth), Math.sin(elevation)];
  const right = [-Math.sin(azimuth), Math.cos(azimuth), 0];
  const up = [back[1] * right[2] - back[2] * right[1], back[2] * right[0] - back[0] * right[2],
    back[0] * right[1] - back[1] * right[0]];
  const eye = target.map((value, axis) => value + distance * back[axis]);
  const shift = (axis) => -(axis[0] * eye[0] + axis[1] * eye[1] + axis[2] * eye[2]);
  const view = [right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
    shift(right), shift(up), shift(back), 1];
  state.axes = { right, up };
  return multiply(perspective, view);
}

// ---- Drawing

let pending = false;
function draw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawNow(); });
}

function drawNow() {
  const ratio = window.devicePixelRatio || 1;
  const strip = drawPictures(ratio);
  if (!gl || !isScans || !data.scenes.length) return;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  gl.viewport(0, 0, width, height);
  gl.clearColor(0.08, 0.09, 0.11, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.enable(gl.DEPTH_TEST);
  const panel = Math.floor(width / data.runs.length), bottom = Math.round(strip * ratio);
  state.matrix = cameraMatrix(panel, height - bottom);
  data.runs.forEach((_, run) => {
    gl.viewport(run * panel, bottom, panel, height - bottom);
    drawPoints(current(), ratio);
    drawLines(current(), run, panel, height - bottom, ratio);
  });
}

function drawPoints({ points, gpu }, ratio) {
  if (!points) return;
  gl.useProgram(pointProgram.id);
  gl.uniformMatrix4fv(pointProgram.uniforms.camera, false, state.matrix);
  gl.uniform3fv(pointProgram.uniforms.low, points.low);
  gl.uniform3fv(pointProgram.uniforms.span, points.span);
  gl.uniform1f(pointProgram.uniforms.colour, Number(element("point-colour").value));
  gl.uniform1f(pointProgram.uniforms.size, 60 * ratio);
  gl.bindVertexArray(gpu.points);
  gl.drawArrays(gl.POINTS, 0, points.count);
}

function drawLines({ gpu }, run, width, height, ratio) {
  const { uniforms } = lineProgram, isHere = run === state.run;
  gl.useProgram(lineProgram.id);
  gl.uniformMatrix4fv(uniforms.camera, false, state.matrix);
  gl.uniform1f(uniforms.minScore, state.minScore);
  gl.uniform1f(uniforms.byScore, Number(element("box-colour").value));
  gl.uniform2f(uniforms.selected, isHere ? state.selected : -1, isHere ? state.other : -1);
  gl.uniform2f(uniforms.shown, element("show-truth").checked, element("show-boxes").checked);
  gl.uniform2f(uniforms.pixel, LINE_PX * ratio / width, LINE_PX * ratio / height);
  gl.uniform3fv(uniforms.colours, Object.values(COLOURS).flatMap(rgb));
  gl.bindVertexArray(gpu.lines[run].array);
  gl.drawArrays(gl.TRIANGLES, 0, gpu.lines[run].count);
}

function drawPictures(ratio) { // of each run; returns the height that they take below a scan
  const scene = current();
  let taken = 0;
  document.querySelectorAll(".panel canvas").forEach((target, run) => {
    target.hidden = !scene?.picture;
    if (target.hidden) return;
    const [width, height] = scene.picture;
    const isStacked = !isScans && width > 1.5 * height; // wide images below each other
    element("panels").style.flexDirection = isStacked ? "column" : "row";
    const share = element("stage").clientHeight / (isStacked ? data.runs.length : 1);
    const room = isScans ? share * MAX_STRIP : share - HEADING_PX;
    const shown = Math.min(target.parentElement.clientWidth, room * width / height);
    target.style.width = `${shown}px`;
    [target.width, target.height] = [Math.round(shown * ratio), Math.round(shown * ratio * height / width)];
    taken = target.height / ratio;
    const context = target.getContext("2d");
    if (scene.bitmap) context.drawImage(scene.bitmap, 0, 0, target.width, target.height);
    drawBoxes(context, scene, run, target.width / width);
  });
  return isScans ? taken : 0;
}

function drawBoxes(context, scene, run, scale) {
  const scores = scoreOfObjects(scene, run), byScore = element("box-colour").value === "1";
  const add = (item, index, score) => {
    const isSelected = run === state.run && (index === state.selected || index === state.other);
    const colour = byScore && index < OBJECT ? ramp(score) : COLOURS[kindOf(scene, run, item, index, score)];
    context.strokeStyle = isSelected ? "#fff" : colour;
    context.lineWidth = isSelected ? 2.5 : 1.5;
    context.beginPath();
    outline(context, scene, item.box, scale);
    context.stroke();
  };
  if (element("show-truth").checked)
    (scene.objects || []).forEach((object, index) => add(object, OBJECT + index, scores[index]));
  if (element("show-boxes").checked)
    (scene.runs[run] || []).forEach((box, index) => box.score >= state.minScore && add(box, index, box.score));
}

function outline(context, scene, box, scale) {
  if (box.length === 4) {
    context.rect(box[0] * scale, box[1] * scale, (box[2] - box[0]) * scale, (box[3] - box[1]) * scale);
    return;
  }
  const P = scene.projection;
  const project = ([x, y, z]) => [0, 4, 8].map((row) => P[row] * x + P[row + 1] * y + P[row + 2] * z + P[row + 3]);
  for (const pair of lines(box)) {
    const [a, b] = pair.map(project);
    if (a[2] < MIN_DEPTH_M && b[2] < MIN_DEPTH_M) continue;
    const cut = (from, to) => from.map((value, axis) => value + (to[axis] - value) * (MIN_DEPTH_M - from[2]) / (to[2] - from[2]));
    const [start, end] = [a[2] < MIN_DEPTH_M ? cut(a, b) : a, b[2] < MIN_DEPTH_M ? cut(b, a) : b];
    context.moveTo(start[0] / start[2] * scale, start[1] / start[2] * scale);
    context.lineTo(end[0] / end[2] * scale, end[1] / end[2] * scale);
  }
}

async function decodePicture(scene, at) {
  if (!scene.picture || scene.bitmap) return;
  scene.bitmap = await createImageBitmap(new Blob([bytes(`picture-${at}`)], { type: "image/jpeg" }));
  if (scene === current()) draw();
}

// ---- Where the camera is

function fromAbove() {
  const reach = 40;
  state.camera = { target: [reach / 3, 0, 0], distance: 2.2 * reach, azimuth: Math.PI, elevation: Math.PI / 2 - 1e-3 };
}

function fromBehind() {
  state.camera = { target: [12, 0, 0], distance: 32, azimuth: Math.PI, elevation: 0.45 };
}

function aim(item) { // at a box; from behind it if it is followed
  if (item.box.length === 4) return;
  const [x, y, z, , , height, yaw] = item.box;
  const target = [x, y, z + height / 2];
  state.camera = state.follow
    ? { target, distance: 14, azimuth: yaw + Math.PI, elevation: 0.35 }
    : { ...state.camera, target, distance: Math.min(state.camera.distance, 25) };
}

// ---- What is selected

function select(run, index, other = -1) {
  Object.assign(state, { run, selected: index, other });
  const item = itemOf(current(), run, index);
  if (item) aim(item);
  markSelected();
  draw();
}

function markSelected() {
  document.querySelectorAll("#tables tbody tr").forEach((row) => {
    const [run, index] = [Number(row.dataset.run), Number(row.dataset.index)];
    const isSelected = run === state.run && (index === state.selected || index === state.other);
    row.classList.toggle("selected", isSelected);
    if (isSelected && index === state.selected) row.scrollIntoView({ block: "nearest" });
  });
  document.querySelectorAll(".panel h2 b").forEach((name, run) => { name.style.textDecoration = run === state.run && data.runs.length > 1 ? "underline" : ""; });
}

function step(by) { // to the next row of the table
  const indices = rows(current(), state.run).map((row) => row.index);
  if (!indices.length) return;
  const at = indices.indexOf(state.selected);
  const next = at < 0 ? (by > 0 ? 0 : indices.length - 1) : (at + by + indices.length) % indices.length;
  select(state.run, indices[next]);
}

function nextError() { // a false prediction or a missed object, in this scan or a later one
  for (let offset = 0; offset <= data.scenes.length; offset++) {
    const scene = (state.scene + offset) % data.scenes.length;
    const errors = rows(data.scenes[scene], state.run).filter((row) => row.verdict === "false" || row.verdict === "missed");
    const at = offset ? -1 : errors.findIndex((row) => row.index === state.selected);
    if (errors[at + 1]) {
      if (scene !== state.scene) show(scene);
      select(state.run, errors[at + 1].index);
      return;
    }
  }
}

function nextReversal() {
  const list = reversals();
  const text = element("reversal");
  text.hidden = false;
  if (!list.length) {
    text.textContent = data.scenes.some((scene) => scene.objects) ? "No reversed pair of boxes at this score."
      : "Without labels there are no reversed pairs.";
    return;
  }
  state.reversal = (state.reversal + 1) % list.length;
  const at = state.reversal, { run, above, below } = list[at];
  if (list[at].at !== state.scene) show(list[at].at);
  const box = (item) => `${item.name} ${item.score.toFixed(2)} with overlap ${item.overlap.toFixed(2)}`;
  text.textContent = `${data.runs[run].name}: ${box(above)} ranks above ${box(below)} (pair ${at + 1} of ${list.length})`;
  text.hidden = false; // showing another scan hides it
  select(run, above.index, below.index);
}

function followed(before, run, index) { // the box in the scan that is shown that is nearest to one in the scan before
  const old = itemOf(before, run, index);
  if (!old || old.box.length === 4) return -1;
  const away = (row) => Math.hypot(row.item.box[0] - old.box[0], row.item.box[1] - old.box[1]);
  const near = rows(current(), run).filter((row) => row.item.name === old.name && away(row) < FOLLOW_M);
  return near.length ? near.reduce((a, b) => (away(a) <= away(b) ? a : b)).index : -1;
}

function pick(x, y) { // the box at a place of the stage
  const width = element("stage").clientWidth / data.runs.length;
  const strips = [...document.querySelectorAll(".panel canvas")];
  const run = isScans ? Math.min(data.runs.length - 1, Math.floor(x / width))
    : strips.findIndex((image) => Math.abs(x - image.offsetLeft - image.clientWidth / 2) < image.clientWidth / 2
      && Math.abs(y - image.offsetTop - image.clientHeight / 2) < image.clientHeight / 2);
  if (run < 0) return;
  const strip = strips[run];
  const height = canvas.clientHeight - (isScans && !strip.hidden ? strip.clientHeight : 0);
  const m = isScans && cameraMatrix(width, height);
  const away = ({ item }) => {
    if (item.box.length === 4) {
      const scale = strip.clientWidth / current().picture[0];
      const [left, top] = [x - strip.offsetLeft, y - strip.offsetTop];
      const isInside = left > item.box[0] * scale && left < item.box[2] * scale && top > item.box[1] * scale && top < item.box[3] * scale;
      return isInside ? (item.box[2] - item.box[0]) * scale / 100 : Infinity; // the smallest of those around the place
    }
    const [bx, by, bz, , , tall] = item.box, place = [bx, by, bz + tall / 2, 1];
    const clip = [0, 1, 3].map((row) => place.reduce((sum, value, column) => sum + m[column * 4 + row] * value, 0));
    if (clip[2] <= 0) return Infinity;
    const [px, py] = [(clip[0] / clip[2] + 1) / 2 * width, (1 - clip[1] / clip[2]) / 2 * height];
    return Math.hypot(px - (x - run * width), py - y);
  };
  const best = rows(current(), run).map((row) => [away(row), row.index]).sort((a, b) => a[0] - b[0])[0];
  state.run = run;
  if (best && best[0] < 30) select(run, best[1]);
  else { markSelected(); draw(); }
}

// ---- What stands beside the drawing

function list() {
  const scene = current();
  element("score-value").value = state.minScore.toFixed(2);
  element("score").value = state.minScore;
  const shown = data.runs.map((_, run) => rows(scene, run));
  element("tables").replaceChildren(...data.runs.map((run, at) => table(scene, at, shown[at])));
  document.querySelectorAll(".panel h2").forEach((heading, run) => {
    const name = document.createElement("b");
    name.textContent = data.runs[run].name;
    name.style.color = data.runs[run].colour;
    const count = (verdict) => shown[run].filter((row) => row.verdict === verdict).length;
    const summary = !scene.runs[run] ? "no result for this scan"
      : scene.objects ? `${count("found")} found, ${count("false")} false, ${count("missed")} missed` : `${shown[run].length} boxes`;
    heading.replaceChildren(name, ` ${summary}${run ? "" : pointsOf(scene)}`);
  });
  markSelected();
}

function pointsOf({ points }) {
  if (!points) return "";
  return points.count < points.of ? `; ${points.count} of ${points.of} points` : `; ${points.count} points`;
}

function table(scene, run, shown) {
  const result = document.createElement("table");
  const hasTruth = Boolean(scene.objects);
  if (data.runs.length > 1) {
    result.createCaption().textContent = data.runs[run].name;
    result.caption.style.color = data.runs[run].colour;
  }
  const head = result.createTHead().insertRow();
  for (const text of ["class", "score", ...(hasTruth ? ["overlap"] : []), isScans ? "distance" : "size", ""]) {
    const cell = document.createElement("th");
    cell.textContent = text;
    head.append(cell);
  }
  const body = result.createTBody();
  for (const { item, index, verdict } of shown) {
    const row = body.insertRow();
    Object.assign(row.dataset, { run, index });
    const number = (value) => (index < OBJECT && value !== undefined ? value.toFixed(2) : "");
    const [a, b, c, d] = item.box;
    const place = isScans ? `${Math.hypot(a, b).toFixed(1)} m` : `${Math.round(c - a)} x ${Math.round(d - b)}`;
    const texts = [item.name, number(item.score), ...(hasTruth ? [number(item.overlap)] : []), place,
      verdict === "predicted" ? "" : verdict === "uncounted" ? "not counted" : verdict];
    for (const text of texts) row.insertCell().textContent = text;
    row.lastChild.style.color = COLOURS[verdict];
    row.onclick = () => select(run, index);
  }
  return result;
}

function legend(scene) {
  const overlaps = Object.entries(data.min_overlap).map(([name, value]) => `${name} ${value}`).join(", ");
  const texts = scene.objects
    ? { found: `found: ${isScans ? "3D " : ""}IoU above ${overlaps}`, false: "false: no such object there",
        uncounted: "not counted: small, or on an object that is not counted", object: "object that is found",
        missed: "object that is missed", ignored: "object that is not counted" }
    : { predicted: "predicted" };
  element("legend").replaceChildren(...Object.entries(texts).flatMap(([kind, text]) => {
    const mark = document.createElement("dt"), label = document.createElement("dd");
    mark.style.background = COLOURS[kind];
    label.textContent = text;
    return [mark, label];
  }));
}

function show(index) {
  const before = current(), { run, selected, follow } = state;
  state.scene = (index + data.scenes.length) % data.scenes.length;
  Object.assign(state, { selected: -1, other: -1 });
  element("scan").value = state.scene;
  element("reversal").hidden = true;
  const scene = current();
  element("note").textContent = [scene.note, data.note].filter(Boolean).join("; ");
  upload(scene, state.scene);
  decodePicture(scene, state.scene);
  legend(scene);
  list();
  const next = follow && before !== scene ? followed(before, run, selected) : -1;
  if (next >= 0) select(run, next);
  draw();
}

function setScore(value) {
  state.minScore = Math.min(1, Math.max(0, Math.round(value * 100) / 100));
  state.reversal = -1;
  list();
  draw();
}

function follow() {
  state.follow = !state.follow;
  const item = itemOf(current(), state.run, state.selected);
  if (!state.follow) fromBehind();
  else if (item) aim(item);
  else step(1);
  draw();
}

function showTab(name) {
  for (const tab of ["scans", "results"]) {
    element(tab).hidden = tab !== name;
    element(`tab-${tab}`).classList.toggle("selected", tab === name);
  }
  element("controls").hidden = name !== "scans";
  if (name === "scans") draw();
}

// ---- Keys and mouse

const KEYS = {
  n: () => show(state.scene + 1), p: () => show(state.scene - 1),
  t: () => { state.follow = false; fromAbove(); draw(); }, r: () => { state.follow = false; fromBehind(); draw(); },
  f: follow, j: () => step(1), k: () => step(-1), e: nextError, w: nextReversal,
  "+": () => setScore(state.minScore + 0.05), "-": () => setScore(state.minScore - 0.05),
};

function listen() {
  element("scan").append(...data.scenes.map((scene, index) => new Option(scene.name, index)));
  element("scan").onchange = (event) => show(Number(event.target.value));
  element("score").oninput = (event) => setScore(Number(event.target.value));
  for (const id of ["show-truth", "show-boxes", "box-colour", "point-colour"]) element(id).onchange = draw;
  window.onresize = draw;
  window.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT" || element("scans").hidden) return;
    const key = KEYS[event.key];
    if (key) { event.preventDefault(); key(); }
  };
  const stage = element("stage");
  let last = null, moved = 0;
  stage.onpointerdown = (event) => { last = event; moved = 0; stage.setPointerCapture(event.pointerId); canvas.focus(); };
  stage.onpointerup = (event) => {
    last = null;
    const { left, top } = stage.getBoundingClientRect();
    if (moved < 4) pick(event.clientX - left, event.clientY - top);
  };
  stage.onpointermove = (event) => {
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    const camera = state.camera;
    moved += Math.abs(dx) + Math.abs(dy);
    if (event.shiftKey || event.buttons & 2) {
      const metres = 2 * camera.distance * Math.tan(FIELD_OF_VIEW / 2) / canvas.clientHeight;
      camera.target = camera.target.map((value, axis) =>
        value - metres * (dx * state.axes.right[axis] - dy * state.axes.up[axis]));
    } else {
      camera.azimuth -= dx * 0.006;
      camera.elevation = Math.min(Math.PI / 2 - 1e-3, Math.max(-0.2, camera.elevation + dy * 0.006));
    }
    last = event;
    draw();
  };
  stage.oncontextmenu = (event) => event.preventDefault();
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    state.camera.distance = Math.min(300, Math.max(2, state.camera.distance * Math.exp(event.deltaY * 0.001)));
    draw();
  }, { passive: false });
}

function addPanels() {
  element("panels").append(...data.runs.map(() => {
    const panel = document.createElement("div");
    panel.className = "panel";
    panel.append(document.createElement("h2"), document.createElement("canvas"));
    return panel;
  }));
  if (isScans) return;
  element("scans").classList.add("images");
  canvas.hidden = true;
  for (const part of document.querySelectorAll(".of-scans")) part.hidden = true;
}

const hasResults = element("results").childElementCount > 0;
element("tab-scans").hidden = element("tab-results").hidden = !hasResults || !data.scenes.length;
element("tab-scans").onclick = () => showTab("scans");
element("tab-results").onclick = () => showTab("results");
let pointProgram, lineProgram;
if (data.scenes.length) {
  if (gl) [pointProgram, lineProgram] = [program(POINT_VERTEX), program(LINE_VERTEX)];
  addPanels();
  fromBehind();
  listen();
  showTab("scans");
  show(0);
  if (!gl && isScans) element("note").textContent = "This browser has no WebGL 2, which the scans are drawn with.";
} else {
  element("note").textContent = data.note;
  showTab("results");
}
