"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { ink: of("--ink"), soft: of("--soft"), line: of("--line"), card: of("--card") };
  };
  const themed = (figure) => {
    const { ink, soft, line, card } = colours();
    const layout = structuredClone(figure.layout);
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { color: soft, size: 12, family: getComputedStyle(document.body).fontFamily };
    layout.hoverlabel = { bgcolor: card, bordercolor: line, align: "left", font: { color: ink, size: 12 } };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: soft };
    layout.height = figure.height;
    layout.autosize = true;
    for (const name of ["xaxis", "yaxis"]) {
      if (layout[name]) Object.assign(layout[name], { gridcolor: line, linecolor: line, tickcolor: line });
    }
    const data = structuredClone(figure.data);
    for (const trace of data) {
      if (trace.type !== "parcoords") continue;
      trace.labelfont = { color: ink, size: 12 };
      trace.tickfont = { color: soft, size: 11 };
      trace.rangefont = { color: "rgba(0,0,0,0)", size: 1 };
      trace.unselected = { line: { color: line, opacity: 0.35 } };
    }
    return [data, layout];
  };
  const config = { responsive: true, displayModeBar: matchMedia("(max-width: 640px)").matches ? false : "hover", displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const draw = () => figures.forEach((figure) => Plotly.react(figure.id, ...themed(figure), config));
  draw();
  dark.addEventListener("change", draw);
})();
