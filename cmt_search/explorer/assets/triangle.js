// The chosen point of the triangle, dragged with a pointer or moved with the arrow keys.
(() => {
  const NEAR = 18;  // pixels around the point that take hold of it
  const OFTEN = 150;  // milliseconds between two points for which the server solves networks
  const STEP = 0.01;

  const graph = () => document.querySelector("#triangle .js-plotly-plot");
  const marker = () => document.querySelector("#triangle .tracetrace-chosen-point path.point");
  const chosen = () => graph() && (graph().data || []).find((trace) => trace.uid === "trace-chosen-point");

  // Plotly puts a point of the triangle at width - depth across and at resolution upwards.
  const axes = () => {
    const { xaxis, yaxis } = graph()._fullLayout.ternary._subplot;
    const box = graph().getBoundingClientRect();
    return { xaxis, yaxis, left: box.left + xaxis._offset, top: box.top + yaxis._offset };
  };
  const sharesAt = (event) => {
    const { xaxis, yaxis, left, top } = axes();
    const across = xaxis.p2c(event.clientX - left), resolution = yaxis.p2c(event.clientY - top);
    return { depth: (1 - resolution - across) / 2, width: (1 - resolution + across) / 2, resolution };
  };
  const inside = ({ depth, width, resolution }) => {
    const parts = [depth, width, resolution].map((share) => Math.max(share, 0));
    const sum = parts.reduce((a, b) => a + b);
    const round = (share) => Math.round(share / sum / STEP) * STEP;
    const whole = round(parts[0]);
    return { depth: +whole.toFixed(2), width: +Math.min(round(parts[1]), 1 - whole).toFixed(2) };
  };

  // Moved as a shape: plotly would draw the whole map anew.
  const place = (depth, width) => {
    const trace = chosen(), shape = marker();
    if (!trace || !shape || depth === null || width === null) return;
    const right = Math.min(width, 1 - depth), resolution = Math.max(0, 1 - depth - right);
    Object.assign(trace, { a: [resolution], b: [depth], c: [right] });
    const { xaxis, yaxis } = axes();
    shape.setAttribute("transform", `translate(${xaxis.c2p(right - depth)},${yaxis.c2p(resolution)})`);
  };

  // The sliders' thumbs are Dash's own, and it gives them no name.
  const nameThumbs = () => {
    for (const row of document.querySelectorAll(".slider")) {
      const name = row.querySelector(".label").textContent;
      for (const thumb of row.querySelectorAll("[role=slider]")) thumb.setAttribute("aria-label", name);
    }
  };
  const watchThumbs = () => {  // they come with a script of their own, and late
    const sliders = document.querySelector(".sliders");
    if (!sliders) { setTimeout(watchThumbs, 200); return; }
    new MutationObserver(nameThumbs).observe(sliders, { childList: true, subtree: true });
    nameThumbs();
  };
  watchThumbs();

  let held = false, asked = 0, waiting = null;
  const ask = (shares) => {
    clearTimeout(waiting);
    const now = () => {
      asked = performance.now();
      window.dash_clientside.set_props("dragged", { data: shares });
    };
    waiting = setTimeout(now, Math.max(0, asked + OFTEN - performance.now()));
  };
  const move = (shares) => {
    const { depth, width } = inside(shares);
    place(depth, width);
    ask({ depth, width });
  };
  const isNear = ({ clientX, clientY }) => {
    const shape = marker();
    if (!shape) return false;
    const box = shape.getBoundingClientRect();
    return Math.hypot(clientX - box.left - box.width / 2, clientY - box.top - box.height / 2) <= NEAR;
  };
  const onMap = (event) => event.target.closest && event.target.closest("#triangle");

  const take = (event) => {
    const finger = event.touches ? event.touches[0] : event;
    if (event.button || !onMap(event) || !isNear(finger)) return;
    event.preventDefault();  // or the page scrolls under a finger
    event.stopPropagation();  // or plotly zooms
    held = true;
    window.Plotly.Fx.unhover(graph());
    document.querySelector("#triangle-keys").focus({ preventScroll: true });
  };
  for (const name of ["pointerdown", "mousedown", "touchstart"]) {
    document.addEventListener(name, take, { capture: true, passive: false });
  }
  document.addEventListener("pointermove", (event) => {
    if (held) move(sharesAt(event));
    else if (onMap(event)) graph().classList.toggle("at-point", isNear(event));
  });
  document.addEventListener("mousemove", (event) => held && event.stopPropagation(), { capture: true });
  for (const name of ["pointerup", "pointercancel"]) {
    document.addEventListener(name, () => { held = false; });
  }

  const KEYS = {  // of depth, width and resolution
    ArrowLeft: [1, -1, 0], ArrowRight: [-1, 1, 0], ArrowUp: [-0.5, -0.5, 1], ArrowDown: [0.5, 0.5, -1],
  };
  document.addEventListener("keydown", (event) => {
    const way = KEYS[event.key], trace = chosen();
    if (!way || !trace || event.target.id !== "triangle-keys") return;
    event.preventDefault();  // or the page scrolls
    const size = (event.shiftKey ? 10 : 2) * STEP;
    const [depth, width, resolution] = [trace.b[0], trace.c[0], trace.a[0]].map((share, i) => share + size * way[i]);
    move({ depth, width, resolution });
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    triangle: {
      dragged: ({ depth, width }) => [depth, width],
      // Sliders move the point as well; a new figure is drawn a moment later.
      place: (depth, width) => { place(depth, width); setTimeout(() => place(depth, width), 100); },
    },
  });
})();
