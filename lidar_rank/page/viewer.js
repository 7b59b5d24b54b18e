"use strict";
// Shows the scenes in the element #data: points and boxes with WebGL 2, a table of the boxes, a slider for the score.
// A box is drawn or not by comparing its score with a uniform, so that the slider rebuilds nothing.

const COLOURS = { found: "#4ade80", false: "#f87171", predicted: "#fbbf24", object: "#60a5fa", missed: "#f0abfc" };
const NEAR_M = 0.5, FAR_M = 400, FIELD_OF_VIEW = Math.PI / 4;
// Corners of a box: bit 0 front, bit 1 left, bit 2 top. Pairs of corners are edges; the last two point forward.
const EDGES = [0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 1, 3, 4, 6, 5, 7, 0, 4, 1, 5, 2, 6, 3, 7];

const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("view");
const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
const state = { scene: 0, selected: -1, minScore: 0.3, camera: null };

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
  gl_PointSize = clamp(size / gl_Position.w, 1.0, 5.0);
  shade = colour > 0.5 ? mix(vec3(0.25, 0.28, 0.35), vec3(1.0), sqrt(intensity)) : ramp((metres.z + 2.0) / 3.5);
}`;
const POINT_FRAGMENT = `#version 300 es
precision mediump float; in vec3 shade; out vec4 pixel;
void main() { pixel = vec4(shade * 0.85, 1.0); }`;
const LINE_VERTEX = `#version 300 es
in vec3 position; in vec4 look; // score; kind: 0 object, 1 prediction; colour; index
uniform mat4 camera; uniform float minScore, selected; uniform vec2 shown; uniform vec3 colours[5];
out vec3 shade;
void main() {
  bool isObject = look.y < 0.5;
  bool hidden = isObject ? shown.x < 0.5 : shown.y < 0.5 || look.x < minScore;
  int index = int(look.z + 0.5);
  if (isObject) index = look.x < minScore ? 4 : 3; // missed unless a prediction above the threshold matches it
  shade = abs(look.w - selected) < 0.5 ? vec3(1.0) : colours[index];
  gl_Position = hidden ? vec4(2.0, 2.0, 2.0, 1.0) : camera * vec4(position, 1.0);
}`;
const LINE_FRAGMENT = `#version 300 es
precision mediump float; in vec3 shade; out vec4 pixel;
void main() { pixel = vec4(shade, 1.0); }`;

function program(vertex, fragment) {
  const result = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
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

function bytes(text) {
  const binary = atob(text);
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

function corners([x, y, z, length, width, height, yaw]) {
  const [cos, sin] = [Math.cos(yaw), Math.sin(yaw)];
  return [...Array(8).keys()].map((corner) => {
    const [along, across] = [((corner & 1) - 0.5) * length, (((corner >> 1) & 1) - 0.5) * width];
    return [x + along * cos - across * sin, y + along * sin + across * cos, z + (corner >> 2) * height];
  });
}

function boxLines(scene) {
  const positions = [], looks = [];
  const add = (item, kind, colour, index) => {
    const corner = corners(item.box);
    const middle = (a, b) => corner[a].map((value, axis) => (value + corner[b][axis]) / 2);
    const forward = [middle(4, 7), middle(5, 7)]; // from the middle of the top to that of its front edge
    for (const point of [...EDGES.map((i) => corner[i]), ...forward]) {
      positions.push(...point);
      looks.push(item.score, kind, colour, index);
    }
  };
  const plain = !scene.objects;
  scene.boxes.forEach((box, index) => add(box, 1, plain ? 2 : box.found ? 0 : 1, index));
  (scene.objects || []).forEach((object, index) => add(object, 0, 3, 10000 + index));
  return [new Float32Array(positions), new Float32Array(looks)];
}

// What the GPU holds of a scene is made when the scene is first shown.
function upload(scene) {
  if (scene.points) return;
  scene.points = gl.createVertexArray();
  gl.bindVertexArray(scene.points);
  attribute(pointProgram, "position", new Uint16Array(bytes(scene.position).buffer), 3, gl.UNSIGNED_SHORT, true);
  attribute(pointProgram, "intensity", bytes(scene.intensity), 1, gl.UNSIGNED_BYTE, true);
  scene.lines = gl.createVertexArray();
  gl.bindVertexArray(scene.lines);
  const [positions, looks] = boxLines(scene);
  attribute(lineProgram, "position", positions, 3, gl.FLOAT, false);
  attribute(lineProgram, "look", looks, 4, gl.FLOAT, false);
  scene.lineVertices = positions.length / 3;
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

function rgb(colour) {
  return [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16) / 255);
}

let pending = false;
function draw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawNow(); });
}

function drawNow() {
  const scene = data.scenes[state.scene];
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  gl.viewport(0, 0, width, height);
  gl.clearColor(0.08, 0.09, 0.11, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.enable(gl.DEPTH_TEST);
  const matrix = cameraMatrix(width, height);

  gl.useProgram(pointProgram.id);
  gl.uniformMatrix4fv(pointProgram.uniforms.camera, false, matrix);
  gl.uniform3fv(pointProgram.uniforms.low, scene.low);
  gl.uniform3fv(pointProgram.uniforms.span, scene.span);
  gl.uniform1f(pointProgram.uniforms.colour, Number(element("colour").value));
  gl.uniform1f(pointProgram.uniforms.size, 90 * ratio);
  gl.bindVertexArray(scene.points);
  gl.drawArrays(gl.POINTS, 0, scene.count);

  gl.useProgram(lineProgram.id);
  gl.uniformMatrix4fv(lineProgram.uniforms.camera, false, matrix);
  gl.uniform1f(lineProgram.uniforms.minScore, state.minScore);
  gl.uniform1f(lineProgram.uniforms.selected, state.selected);
  gl.uniform2f(lineProgram.uniforms.shown, element("show-truth").checked, element("show-boxes").checked);
  gl.uniform3fv(lineProgram.uniforms.colours, Object.values(COLOURS).flatMap(rgb));
  gl.bindVertexArray(scene.lines);
  gl.drawArrays(gl.LINES, 0, scene.lineVertices);
}

function fromAbove() {
  const reach = 40;
  state.camera = { target: [reach / 3, 0, 0], distance: 2.2 * reach, azimuth: Math.PI, elevation: Math.PI / 2 - 1e-3 };
}

function fromBehind() {
  state.camera = { target: [12, 0, 0], distance: 32, azimuth: Math.PI, elevation: 0.45 };
}

function look(index) { // at a box
  state.selected = index;
  const scene = data.scenes[state.scene];
  const item = index >= 10000 ? scene.objects[index - 10000] : scene.boxes[index];
  if (item) {
    const [x, y, z, , , height] = item.box;
    state.camera = { ...state.camera, target: [x, y, z + height / 2], distance: Math.min(state.camera.distance, 25) };
  }
  for (const row of element("boxes").tBodies[0].rows) {
    const isSelected = Number(row.dataset.index) === index;
    row.classList.toggle("selected", isSelected);
    if (isSelected) row.scrollIntoView({ block: "nearest" });
  }
  draw();
}

function rows(scene) { // predictions above the threshold, then objects that none of them matches
  const visible = scene.boxes.map((box, index) => [box, index]).filter(([box]) => box.score >= state.minScore);
  const missed = (scene.objects || []).map((object, index) => [object, 10000 + index])
    .filter(([object]) => object.score < state.minScore);
  return [...visible.map(([box, index]) => [box, index, !scene.objects ? "" : box.found ? "found" : "false"]),
    ...missed.map(([object, index]) => [object, index, "missed"])];
}

function list() {
  const scene = data.scenes[state.scene];
  const shown = rows(scene);
  element("score-value").value = state.minScore.toFixed(2);
  element("score").value = state.minScore;
  element("boxes").tBodies[0].replaceChildren(...shown.map(([item, index, verdict]) => {
    const row = document.createElement("tr");
    row.dataset.index = index;
    const score = verdict === "missed" ? "" : item.score.toFixed(2);
    for (const text of [item.name, score, `${Math.hypot(item.box[0], item.box[1]).toFixed(1)} m`, verdict])
      row.insertCell().textContent = text;
    row.lastChild.style.color = COLOURS[verdict] || "";
    row.classList.toggle("selected", index === state.selected);
    row.onclick = () => look(index);
    return row;
  }));
  const count = (verdict) => shown.filter((row) => row[2] === verdict).length;
  const points = scene.count < scene.of ? `${scene.count} of ${scene.of} points` : `${scene.count} points`;
  element("summary").textContent = scene.objects
    ? `${count("found")} found, ${count("false")} false, ${count("missed")} missed; ${points}`
    : `${shown.length} boxes; ${points}`;
}

function show(index) {
  state.scene = (index + data.scenes.length) % data.scenes.length;
  state.selected = -1;
  element("scan").value = state.scene;
  const scene = data.scenes[state.scene];
  upload(scene);
  const legend = scene.objects
    ? { found: `found: 3D IoU of at least ${data.min_overlap}`, false: "false: no object there", object: "object",
        missed: "object that is missed" }
    : { predicted: "predicted" };
  element("legend").replaceChildren(...Object.entries(legend).flatMap(([kind, text]) => {
    const mark = document.createElement("dt"), label = document.createElement("dd");
    mark.style.background = COLOURS[kind];
    label.textContent = text;
    return [mark, label];
  }));
  list();
  draw();
}

function setScore(value) {
  state.minScore = Math.min(1, Math.max(0, Math.round(value * 100) / 100));
  list();
  draw();
}

function step(by) { // to the next row of the table
  const indices = rows(data.scenes[state.scene]).map((row) => row[1]);
  if (!indices.length) return;
  const at = indices.indexOf(state.selected);
  look(indices[(at < 0 ? (by > 0 ? 0 : -1) : at + by + indices.length) % indices.length] ?? indices[indices.length - 1]);
}

function nextError() { // a false prediction or a missed object, in this scan or a later one
  for (let offset = 0; offset <= data.scenes.length; offset++) {
    const scene = (state.scene + offset) % data.scenes.length;
    const errors = rows(data.scenes[scene]).filter((row) => row[2] === "false" || row[2] === "missed");
    const at = offset ? -1 : errors.findIndex((row) => row[1] === state.selected);
    if (errors[at + 1]) {
      if (scene !== state.scene) show(scene);
      look(errors[at + 1][1]);
      return;
    }
  }
}

const KEYS = {
  n: () => show(state.scene + 1), p: () => show(state.scene - 1),
  t: () => { fromAbove(); draw(); }, r: () => { fromBehind(); draw(); },
  j: () => step(1), k: () => step(-1), e: nextError,
  "+": () => setScore(state.minScore + 0.05), "-": () => setScore(state.minScore - 0.05),
};

function listen() {
  element("scan").append(...data.scenes.map((scene, index) => new Option(scene.name, index)));
  element("scan").onchange = (event) => show(Number(event.target.value));
  element("score").oninput = (event) => setScore(Number(event.target.value));
  for (const id of ["show-truth", "show-boxes", "colour"]) element(id).onchange = draw;
  window.onresize = draw;
  window.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    const key = KEYS[event.key];
    if (key) { event.preventDefault(); key(); }
  };
  let last = null;
  canvas.onpointerdown = (event) => { last = event; canvas.setPointerCapture(event.pointerId); canvas.focus(); };
  canvas.onpointerup = () => { last = null; };
  canvas.onpointermove = (event) => {
    if (!last) return;
    const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
    const camera = state.camera;
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
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    state.camera.distance = Math.min(300, Math.max(2, state.camera.distance * Math.exp(event.deltaY * 0.001)));
    draw();
  }, { passive: false });
}

let pointProgram, lineProgram;
if (gl) {
  pointProgram = program(POINT_VERTEX, POINT_FRAGMENT);
  lineProgram = program(LINE_VERTEX, LINE_FRAGMENT);
  fromBehind();
  listen();
  show(0);
} else {
  element("summary").textContent = "This browser has no WebGL 2, which the scans are drawn with.";
}
