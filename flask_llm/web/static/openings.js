// Shades the times in which a provider was not asked, since its circuit was open.

const GAP = 7;

/**
 * A plugin of uPlot.
 * @param shown - Whose data has the openings.
 * @param color - Returns a color of the style sheet.
 */
export function openings(shown, color) {
  const paint = (work) => (plot) => within(plot, shown.data.openings, color, work);
  // The shades below the bars, the names above all.
  return { hooks: { drawClear: paint(hatch), draw: paint(label) } };
}

/** Do some work for each opening, in its color and inside the chart. */
function within(plot, spans, color, work) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = ctx.strokeStyle = color("warning");
  const names = [...new Set(spans.map((each) => each.provider))];
  for (const { since, until, provider } of spans) {
    const left = plot.valToPos(since, "x", true);
    const width = Math.max(2 * devicePixelRatio, plot.valToPos(until, "x", true) - left);
    const row = names.indexOf(provider);
    work(ctx, { left, width, top: bbox.top, height: bbox.height }, { provider, row, back: color("paper") });
  }
  ctx.restore();
}

/** Lines at a slant, which need no color to be seen. */
function hatch(ctx, { left, width, top, height }) {
  const scale = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.globalAlpha = 0.1;
  ctx.fillRect(left, top, width, height);
  ctx.globalAlpha = 0.3;
  ctx.lineWidth = scale;
  ctx.beginPath();
  // In steps from the canvas's edge, so that the lines of neighbors meet.
  const step = GAP * scale;
  for (let x = Math.floor((left - height) / step) * step; x < left + width; x += step) {
    ctx.moveTo(x, top + height);
    ctx.lineTo(x + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

function label(ctx, { left, width, top }, { provider, row, back }) {
  const scale = devicePixelRatio;
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  const room = ctx.measureText(provider).width + 6 * scale;
  if (room > width) return;
  const x = left + 2 * scale;
  // Openings of several providers at once: one name below the other.
  const y = top + (2 + (row % 3) * 15) * scale;
  const ink = ctx.fillStyle;
  ctx.fillStyle = back;
  ctx.fillRect(x, y, room, 14 * scale);
  ctx.fillStyle = ink;
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.fillText(provider, x + 3 * scale, y + 2 * scale);
}
