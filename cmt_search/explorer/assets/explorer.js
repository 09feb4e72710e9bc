// What needs no server: zoom that outlives new data, colours of the theme, and the address.
(() => {
  // Light colours of the figures, and what stands for them on a dark page.
  const DARK = {
    "white": "#161b22", "#1f2933": "#e6edf3", "#52606d": "#a3adb8", "#e4e7eb": "#30363d",
    "#cbd2d9": "#3d444d", "#0072b2": "#4aa8e0", "#5d3a9b": "#b69cf0", "#4b5563": "#a3adb8",
    "#8c6d31": "#d4b26a", "#9aa5b1": "#6e7883", "rgba(0, 0, 0, 0.10)": "rgba(255, 255, 255, 0.15)",
    "rgba(0, 114, 178, 0.13)": "rgba(74, 168, 224, 0.22)",
  };
  const DATA = new Set(["x", "y", "z", "a", "b", "c", "customdata", "text", "hovertext", "values", "template"]);
  const AXIS = { gridcolor: "#30363d", zerolinecolor: "#3d444d", linecolor: "#3d444d" };

  // Samples of a colour scale reach down to nearly black. White is mixed in, so that luminance L
  // becomes FLOOR + (1 - FLOOR) L: their order stays, and the darkest has a contrast of 4 to 1.
  const FLOOR = 0.2;
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255).map((p) => (p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const lightened = (rgb) => {
    const mixed = (part) => rgb.map((value) => value + (255 - value) * part);
    const wanted = FLOOR + (1 - FLOOR) * luminance(rgb);
    let [low, high] = [0, 1];
    for (let i = 0; i < 10; i += 1) {
      const middle = (low + high) / 2;
      if (luminance(mixed(middle)) < wanted) low = middle; else high = middle;
    }
    return mixed(high).map(Math.round);
  };
  const RGB = /^rgb\((\d+), ?(\d+), ?(\d+)\)$/;
  const HEX = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i;
  const lightenedText = (text) => {
    const [rgb, hex] = [RGB.exec(text), HEX.exec(text)];
    const parts = rgb ? rgb.slice(1).map(Number) : hex && hex.slice(1).map((part) => parseInt(part, 16));
    return parts ? `rgb(${lightened(parts).join(", ")})` : text;
  };

  const recoloured = (part) => {
    if (typeof part === "string") return DARK[part.toLowerCase()] || (RGB.test(part) ? lightenedText(part) : part);
    if (Array.isArray(part)) return part.length > 60 ? part : part.map(recoloured);
    if (part === null || typeof part !== "object" || part.bdata) return part;
    return Object.fromEntries(Object.entries(part).map(
      ([key, value]) => [key, DATA.has(key) && typeof value !== "string" ? value : recoloured(value)]));
  };

  const darkened = (figure) => {
    const made = { data: recoloured(figure.data), layout: recoloured(figure.layout) };
    const layout = made.layout;
    for (const name of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(name)) layout[name] = { ...AXIS, ...layout[name] };
    }
    for (const axis of ["xaxis", "yaxis"]) layout[axis] = { ...AXIS, ...layout[axis] };
    if (layout.scene) {
      for (const axis of ["xaxis", "yaxis", "zaxis"]) {
        layout.scene[axis] = { ...layout.scene[axis], gridcolor: "#3d444d", backgroundcolor: "#161b22" };
      }
    }
    for (const trace of made.data) {
      if (trace.marker && trace.marker.colorbar) trace.marker.colorbar.tickcolor = "#a3adb8";
      const { colorscale } = trace.line || {};  // of lines; an area is seen however dark it is
      if (Array.isArray(colorscale)) trace.line.colorscale = colorscale.map(([at, colour]) => [at, lightenedText(colour)]);
    }
    return made;
  };

  // Dash (4.4, plotly/dash#3882) writes the user's zoom into a graph's figure, where plotly takes it for the author's own and
  // `uirevision` no longer keeps it. So a new figure of the same view takes it over here.
  const kept = (drawn, shown) => {
    const [next, now] = [drawn.layout, (shown && shown.layout) || {}];
    if (!next.uirevision || next.uirevision !== now.uirevision) return drawn;
    const layout = { ...next };
    for (const axis of ["xaxis", "yaxis"]) {
      const { range, autorange } = now[axis] || {};
      if (range && autorange === false) layout[axis] = { ...next[axis], range, autorange };
    }
    for (const axis of ["aaxis", "baxis", "caxis"]) {
      const min = ((now.ternary || {})[axis] || {}).min;
      if (min === undefined) continue;
      layout.ternary = { ...layout.ternary, [axis]: { ...next.ternary[axis], min } };
    }
    if (now.scene && now.scene.camera && layout.scene) layout.scene = { ...layout.scene, camera: now.scene.camera };
    if (now.dragmode) layout.dragmode = now.dragmode;
    if (now.selections && next.selectionrevision === "front") layout.selections = now.selections;
    return { ...drawn, layout };
  };

  const isDark = (theme) =>
    theme === "dark" || (theme === "auto" && window.matchMedia("(prefers-color-scheme: dark)").matches);

  // 1,2,3,7 as 1-3,7.
  const ranges = (numbers) => {
    const parts = [];
    let first = null, last = null;
    const close = () => first !== null && parts.push(first === last ? `${first}` : `${first}-${last}`);
    for (const number of [...numbers].sort((a, b) => a - b)) {
      if (last !== null && number === last + 1) { last = number; continue; }
      close();
      first = last = number;
    }
    close();
    return parts.join(",");
  };

  // A bit per trial, the lowest of a byte first, in base64 for addresses.
  const bits = (numbers) => {
    const bytes = new Uint8Array(Math.floor(numbers.reduce((most, number) => Math.max(most, number), -1) / 8) + 1);
    for (const number of numbers) bytes[number >> 3] |= 1 << (number & 7);
    const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    return `~${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
  };

  const shorter = (numbers) => {
    const [listed, mapped] = [ranges(numbers), bits(numbers)];
    return listed.length <= mapped.length ? listed : mapped;
  };

  // A list as 1,2, the table's order as -column, others as they are.
  const written = (value) => {
    if (Array.isArray(value)) return value.join(",");
    return typeof value === "object" ? `${value.descending ? "-" : ""}${value.column}` : `${value}`;
  };

  const buttonOf = (text, properties) => Object.assign(document.createElement("button"), { textContent: text, ...properties });

  const rowOf = ({ trial, state, picked, cells }) => {
    const row = document.createElement("tr");
    row.className = picked ? `${state} picked` : state;
    row.dataset.trial = trial;
    row.insertCell().append(buttonOf(picked ? "\u2611" : "\u2610", {
      className: "plain tick", title: `${picked ? "drop" : "select"} trial ${trial}`, ariaPressed: `${picked}` }));
    cells.forEach(([text, align], i) => {
      const cell = row.insertCell();
      cell.className = align;
      cell.append(i === 0 ? buttonOf(text, { className: "plain show", title: `show trial ${text}` }) : text);
    });
    return row;
  };

  // One handler for all rows: a callback input per row takes Dash seconds.
  document.addEventListener("click", (event) => {
    const row = event.target.closest("#rows tr");
    if (!row) return;
    const store = event.target.closest(".tick") ? "ticked-row" : "shown-row";
    window.dash_clientside.set_props(store, { data: { trial: Number(row.dataset.trial), at: event.timeStamp } });
  });

  const LONGEST = 1800;  // characters of an address that every browser and chat takes

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    explorer: {
      dress: (drawn, theme, shown) => {
        document.documentElement.dataset.theme = isDark(theme) ? "dark" : "light";
        if (!drawn) return window.dash_clientside.no_update;
        const first = document.querySelector("#first-sight");
        if (first) {  // its sketch stays until plotly has drawn the same
          document.querySelector("#front").parentElement.append(first.querySelector("#sketch"));
          first.remove();
        }
        const figure = kept(drawn, shown);
        return isDark(theme) ? darkened(figure) : figure;
      },
      // The version once its front is on the screen, or at once where another view is.
      painted: (figure, version, run, tab, told) => {
        const now = `${run} ${version}`;
        if (!version || now === told) return window.dash_clientside.no_update;
        const sketch = document.querySelector("#sketch");
        if (tab !== "front") { if (sketch) sketch.remove(); return now; }
        if (!figure || !figure.data || !figure.data.length) return window.dash_clientside.no_update;
        return new Promise((tell) => {
          const graph = document.querySelector("#front .js-plotly-plot");
          const later = () => { if (sketch) sketch.remove(); setTimeout(() => tell(now)); };
          if (graph && graph.once) graph.once("plotly_afterplot", later);
          setTimeout(later, 1500);  // where plotly is not there yet, or had drawn it before
        });
      },
      drawRows: (rows) => {
        const held = document.activeElement && document.activeElement.closest("#rows button");
        const [trial, kind] = held ? [held.closest("tr").dataset.trial, held.classList[1]] : [];
        document.querySelector("#rows").replaceChildren(...(rows || []).map(rowOf));
        if (held) (document.querySelector(`#rows tr[data-trial="${trial}"] .${kind}`) || document.body).focus();
      },
      showTab: (tab) => ["front", "triangle", "progress"].map((name) => name !== tab),
      writeAddress: (selection, ...rest) => {
        const fields = rest.pop();
        const values = [...rest, selection && selection.trials ? shorter(selection.trials) : null];
        const parts = [], long = [];
        fields.forEach(([name, initial], i) => {
          const value = values[i];
          if (value === null || value === undefined || JSON.stringify(value) === JSON.stringify(initial)) return;
          const text = encodeURIComponent(written(value)).replaceAll("%2C", ",");
          if (text.length < LONGEST) parts.push(`${name}=${text}`);
          else long.push(name === "sel" ? "selection" : name);
        });
        window.dash_clientside.set_props("address-note", {
          children: long.length ? `The address has no room for the ${long.join(" and the ")}: reloading the page forgets it.` : "" });
        const search = parts.length ? `?${parts.join("&")}` : "";
        if (search !== window.location.search) {
          window.history.replaceState(window.history.state, "", window.location.pathname + search + window.location.hash);
        }
        return search;
      },
    },
  });
})();
