"use strict";
const PALETTE = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#9c755f"];
const RISING = ["#5e4fa2", "#3d7ab8", "#35a3a0", "#5fbf76", "#a8cf4a", "#e3b933", "#ee7d33", "#d5384a"]; // low to high
const REST = { rest: "#8f9794", missing: "#c3c8c5" };
const GROUPS = 10; // eight values, the rest, and what has none

// A scatter of up to 100,000 points: WebGL draws, a grid finds the point under the pointer.
class PointMap {
  constructor(canvas, onPoint) {
    this.canvas = canvas;
    this.onPoint = onPoint;
    this.places = new Float32Array(0);
    this.chosen = -1;
    this.wanted = false;
    this.every = 1; // while it moves, one point of so many is drawn, as many as keep pace (WebGL strides at most 255 bytes)
    this.last = 0;
    this.gl = canvas.getContext("webgl", { antialias: true, alpha: true, premultipliedAlpha: true });
    if (this.gl) this.program();
    else this.flat = canvas.getContext("2d");
    this.fit();
    this.listen();
  }

  program() {
    const gl = this.gl;
    const shader = (kind, source) => {
      const made = gl.createShader(kind);
      gl.shaderSource(made, source);
      gl.compileShader(made);
      return made;
    };
    const program = gl.createProgram();
    gl.attachShader(program, shader(gl.VERTEX_SHADER, `attribute vec2 place; attribute float group; uniform vec2 centre; uniform vec2 scale; uniform float size; uniform vec3 hue; uniform vec3 palette[${GROUPS}]; uniform bool grouped; varying vec3 shade; void main() { shade = grouped ? palette[int(group)] : hue; gl_Position = vec4((place - centre) * scale, 0.0, 1.0); gl_PointSize = size; }`));
    gl.attachShader(program, shader(gl.FRAGMENT_SHADER, "precision mediump float; uniform float strength; varying vec3 shade; void main() { float far = length(gl_PointCoord - 0.5) * 2.0; float a = strength * (1.0 - smoothstep(0.75, 1.0, far)); gl_FragColor = vec4(shade * a, a); }"));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.at = {};
    for (const name of ["centre", "scale", "size", "hue", "strength", "palette", "grouped"]) this.at[name] = gl.getUniformLocation(program, name);
    this.buffers = {};
    for (const name of ["place", "group"]) {
      this.at[name] = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
    }
    gl.enableVertexAttribArray(this.at.place);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  fill(name, values) {
    if (!this.gl) return;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, values, this.gl.STATIC_DRAW);
  }

  // One point of so many: where it stands, and its group.
  stride(every) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.place);
    gl.vertexAttribPointer(this.at.place, 2, gl.FLOAT, false, 8 * every, 0);
    gl.uniform1i(this.at.grouped, this.groups ? 1 : 0);
    if (!this.groups) return gl.disableVertexAttribArray(this.at.group);
    gl.enableVertexAttribArray(this.at.group);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.group);
    gl.vertexAttribPointer(this.at.group, 1, gl.UNSIGNED_BYTE, false, every, 0);
  }

  // A group's number for every point (null: all alike), and each group's colour.
  colour(groups, colours = []) {
    this.groups = groups && Uint8Array.from(groups);
    this.colours = colours;
    if (this.gl && groups) {
      this.fill("group", this.groups);
      const parts = colours.flatMap((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255));
      this.gl.uniform3fv(this.at.palette, new Float32Array([...parts, ...Array(3 * GROUPS - parts.length).fill(0)]));
    }
    this.draw();
  }

  show(places) {
    this.places = places;
    this.chosen = -1;
    this.groups = null;
    this.fill("place", places);
    this.cells = new Map();
    this.side = Math.max(1, Math.ceil(Math.sqrt(places.length / 8)));
    for (let i = 0; i < places.length / 2; i++) {
      const cell = this.cell(places[2 * i], places[2 * i + 1]);
      if (!this.cells.has(cell)) this.cells.set(cell, []);
      this.cells.get(cell).push(i);
    }
    this.fit();
  }

  cell(x, y) {
    const step = (v) => Math.min(this.side - 1, Math.max(0, Math.floor(((v + 1) / 2) * this.side)));
    return step(y) * this.side + step(x);
  }

  fit() {
    this.x = this.y = 0;
    this.zoom = 0.92;
    this.draw();
  }

  // Pixels of one unit, the same both ways.
  unit() {
    return (Math.min(this.canvas.clientWidth, this.canvas.clientHeight) / 2) * this.zoom;
  }

  draw(moving) {
    this.moving = Boolean(moving);
    clearTimeout(this.settling);
    if (moving) this.settling = setTimeout(() => this.draw(), 150);
    if (this.wanted) return;
    this.wanted = true;
    requestAnimationFrame((now) => {
      this.wanted = false;
      const took = now - this.last;
      this.last = now;
      if (this.moving && took < 1000) this.every = Math.min(31, Math.max(1, took > 40 ? Math.ceil((this.every * took) / 33) : took < 20 ? this.every - 1 : this.every));
      this.paint(this.moving ? this.every : 1);
    });
  }

  paint(every) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!width || !height) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const count = this.places.length / 2;
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const colour = dark ? [0.5, 0.81, 0.71] : [0.12, 0.42, 0.34];
    const strength = count > 20000 ? (this.groups ? 0.55 : 0.35) : count > 2000 ? 0.6 : 0.85;
    const size = (count > 20000 ? 3 : count > 2000 ? 5 : 8) * Math.min(2.5, Math.max(1, Math.sqrt(this.zoom)));
    if (!this.gl) {
      this.flat.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.flat.clearRect(0, 0, width, height);
      this.flat.fillStyle = `rgba(${colour.map((c) => Math.round(c * 255))},${strength})`;
      for (let i = 0; i < count; i += every) {
        const [x, y] = this.pixel(i);
        if (this.groups) this.flat.fillStyle = this.colours[this.groups[i]];
        this.flat.fillRect(x - size / 2, y - size / 2, size, size);
      }
      if (this.chosen >= 0) {
        const [x, y] = this.pixel(this.chosen);
        this.flat.fillStyle = "#e06c2b";
        this.flat.fillRect(x - 6, y - 6, 12, 12);
      }
      return;
    }
    const gl = this.gl;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const unit = this.unit();
    gl.uniform2f(this.at.centre, this.x, this.y);
    gl.uniform2f(this.at.scale, (2 * unit) / width, (2 * unit) / height);
    gl.uniform1f(this.at.size, size * ratio);
    gl.uniform3f(this.at.hue, ...colour);
    gl.uniform1f(this.at.strength, strength);
    this.stride(every);
    gl.drawArrays(gl.POINTS, 0, Math.ceil(count / every));
    if (this.chosen >= 0) {
      this.stride(1);
      gl.uniform1i(this.at.grouped, 0);
      gl.uniform1f(this.at.size, Math.max(14, size * 2) * ratio);
      gl.uniform3f(this.at.hue, 0.88, 0.42, 0.17);
      gl.uniform1f(this.at.strength, 1);
      gl.drawArrays(gl.POINTS, this.chosen, 1);
    }
  }

  pixel(i) {
    const unit = this.unit();
    return [this.canvas.clientWidth / 2 + (this.places[2 * i] - this.x) * unit, this.canvas.clientHeight / 2 - (this.places[2 * i + 1] - this.y) * unit];
  }

  // The nearest point to a pixel, at most `reach` pixels away.
  nearest(px, py, reach) {
    if (!this.places.length) return -1;
    const unit = this.unit();
    const x = this.x + (px - this.canvas.clientWidth / 2) / unit;
    const y = this.y - (py - this.canvas.clientHeight / 2) / unit;
    const far = reach / unit;
    let best = far * far;
    let found = -1;
    const step = 2 / this.side;
    const low = (v) => Math.max(0, Math.floor((v - far + 1) / step));
    const high = (v) => Math.min(this.side - 1, Math.floor((v + far + 1) / step));
    for (let row = low(y); row <= high(y); row++) {
      for (let column = low(x); column <= high(x); column++) {
        for (const i of this.cells.get(row * this.side + column) || []) {
          const d = (this.places[2 * i] - x) ** 2 + (this.places[2 * i + 1] - y) ** 2;
          if (d <= best) [best, found] = [d, i];
        }
      }
    }
    return found;
  }

  choose(i) {
    if (i < 0 || i === this.chosen) return;
    this.chosen = i;
    this.draw();
    this.onPoint(i);
  }

  zoomAt(factor, px, py) {
    const before = this.unit();
    this.zoom = Math.min(400, Math.max(0.3, this.zoom * factor));
    const after = this.unit();
    this.x += (px - this.canvas.clientWidth / 2) * (1 / before - 1 / after);
    this.y -= (py - this.canvas.clientHeight / 2) * (1 / before - 1 / after);
    this.draw(true);
  }

  listen() {
    const canvas = this.canvas;
    let from = null;
    canvas.addEventListener("pointerdown", (e) => {
      from = [e.clientX, e.clientY];
      canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener("pointerup", () => (from = null));
    canvas.addEventListener("pointercancel", () => (from = null));
    canvas.addEventListener("pointermove", (e) => {
      if (from) {
        this.x -= (e.clientX - from[0]) / this.unit();
        this.y += (e.clientY - from[1]) / this.unit();
        from = [e.clientX, e.clientY];
        this.draw(true);
      } else {
        const box = canvas.getBoundingClientRect();
        this.choose(this.nearest(e.clientX - box.left, e.clientY - box.top, 12));
      }
    });
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoomAt(Math.exp(-e.deltaY * 0.0015), e.clientX - box.left, e.clientY - box.top);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const step = 40 / this.unit();
      const middle = [canvas.clientWidth / 2, canvas.clientHeight / 2];
      const done = {
        ArrowLeft: () => (this.x -= step), ArrowRight: () => (this.x += step), ArrowUp: () => (this.y += step), ArrowDown: () => (this.y -= step),
        "+": () => this.zoomAt(1.3, ...middle), "=": () => this.zoomAt(1.3, ...middle), "-": () => this.zoomAt(1 / 1.3, ...middle), 0: () => this.fit(),
        Enter: () => this.choose(this.nearest(...middle, Math.max(canvas.clientWidth, canvas.clientHeight))),
      }[e.key];
      if (!done || e.ctrlKey || e.metaKey) return;
      e.preventDefault();
      done();
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }
}
