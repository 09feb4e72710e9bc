// Dash (4.4, plotly/dash#3882) writes the user's zoom into a graph's figure, where plotly takes it for the author's own and
// `uirevision` no longer keeps it. So a new figure of the same view takes it over here.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  explorer: {
    keepView: (drawn, shown) => {
      if (!drawn) return window.dash_clientside.no_update;
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
      return { ...drawn, layout };
    },
  },
});
