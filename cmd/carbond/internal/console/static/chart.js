// Puts a chart to zoom into in the place of the drawing: drag over it to look closer,
// click twice to see all.
"use strict";
(async () => {
  const figure = document.getElementById("chart");
  const answer = await fetch(figure.dataset.history, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const points = (await answer.json()).items;
  if (points.length < 2) return;
  const data = [points.map(p => p.timestamp), points.map(p => p.close), points.map(p => p.low), points.map(p => p.high)];
  const box = document.createElement("div");
  figure.querySelector("svg").replaceWith(box);
  let chart = null;
  function draw() {
    chart?.destroy();
    const ink = getComputedStyle(document.body).color, link = getComputedStyle(document.querySelector("footer a")).color, faint = "#8883";
    const axis = { stroke: ink, grid: { stroke: faint, width: 1 }, ticks: { stroke: faint, width: 1 } };
    chart = new uPlot({
      width: Math.max(240, box.clientWidth), height: 260,
      series: [{}, { label: "Close", stroke: link, width: 1.5 }, { label: "Low", stroke: link, width: 0, points: { show: false } }, { label: "High", stroke: link, width: 0, points: { show: false } }],
      axes: [axis, axis],
    }, data, box);
  }
  draw();
  document.documentElement.addEventListener("theme", draw);
  addEventListener("resize", () => chart.setSize({ width: Math.max(240, box.clientWidth), height: 260 }));
})();
