// Draws the figures of the page that are live, with hover, zoom, and sides that go on and off: bands with densities of
// states, learning curves, and predicted against reference forces.
// Their data stand in blocks of JSON; the still figures beneath them are for print, and for readers without scripts.
'use strict';
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const ink = (value) => (value === 'ink' ? colour('ink') : value);
  const coarse = matchMedia('(pointer: coarse)').matches;

  // Bands one after another as one curve, with gaps between them: few curves are drawn faster than many.
  const joined = (bands, value) => bands.flatMap((band, index) => [...band.map((y, place) => value(y, place, index)), null]);

  // Closed outlines of mean ± factor · sigma, one for each band and segment.
  function shades(spec, side, factor) {
    const x = [], y = [];
    side.bands.forEach((band, index) => {
      let start = 0;
      for (let place = 0; place <= band.length; place += 1) {
        if (place < band.length && band[place] !== null) continue;
        const places = Array.from({ length: place - start }, (_, count) => start + count);
        for (const [sign, order] of [[1, places], [-1, [...places].reverse()]]) {
          order.forEach((at) => { x.push(spec.x[at]); y.push(band[at] + sign * factor * side.sigmas[index][at]); });
        }
        x.push(null); y.push(null);
        start = place + 1;
      }
    });
    return { x, y };
  }

  function sideTraces(spec, side) {
    const own = { legendgroup: side.name, showlegend: false };
    const line = { color: ink(side.color), dash: side.dash, width: side.width };
    const traces = [];
    for (const [factor, shade] of side.sigmas ? [[2, 0.18], [1, 0.3]] : []) {
      const rgb = [1, 3, 5].map((start) => parseInt(line.color.slice(start, start + 2), 16)).join(',');
      traces.push({
        ...own, ...shades(spec, side, factor), mode: 'lines', line: { width: 0 }, hoverinfo: 'skip',
        fill: 'toself', fillcolor: `rgba(${rgb},${shade})`,
      });
    }
    traces.push({
      ...own, x: joined(side.bands, (_, place) => spec.x[place]), y: joined(side.bands, (y) => y), mode: 'lines', line,
      customdata: joined(side.bands, (_, place, index) => [index + 1, spec.q[place]]),
      hovertemplate: `<b>${side.label}</b><br>%{y:.3f} THz, branch %{customdata[0]}<br>q = %{customdata[1]}<extra></extra>`,
    });
    if (side.dos) {
      traces.push({
        ...own, x: side.dos, y: spec.dos, xaxis: 'x2', mode: 'lines', line,
        hovertemplate: `<b>${side.label}</b><br>%{y:.2f} THz: %{x:.3g} per THz<extra></extra>`,
      });
    }
    if (side.marks.length) {
      traces.push({
        ...own, x: side.marks.map((mark) => mark.x), y: side.marks.map((mark) => mark.y), mode: 'markers',
        customdata: side.marks.map((mark) => mark.text), hovertemplate: '%{customdata}<extra></extra>',
        marker: { symbol: 'circle-open', size: 13, color: line.color, line: { width: 2.5 } },
      });
    }
    return traces;
  }

  const axisStyle = () => ({
    color: colour('ink'), gridcolor: colour('grid'), zeroline: false, fixedrange: coarse, linecolor: colour('grid'),
  });

  const commonLayout = () => ({
    margin: { l: 52, r: 8, t: 8, b: 36 }, height: 420, showlegend: false, hovermode: 'closest',
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', dragmode: coarse ? false : 'zoom',
    font: { family: 'inherit', size: 13, color: colour('ink') },
    hoverlabel: { bgcolor: colour('paper'), bordercolor: colour('soft'), font: { color: colour('ink'), size: 13 } },
  });

  function curveTraces(spec, side) {
    const color = ink(side.color);
    return side.curves.map((curve) => ({
      x: curve.x, y: curve.y, mode: spec.points ? 'markers' : 'lines', line: { color, width: 2 },
      marker: { color, size: 5, opacity: 0.7 }, yaxis: curve.panel ? `y${curve.panel + 1}` : 'y',
      hovertemplate: `<b>${side.label}</b><br>${spec.hover}<extra></extra>`,
    }));
  }

  // Panels stand one above another over one axis.
  function curveLayout(spec) {
    const share = 1 / spec.panels.length, last = spec.panels.length;
    const layout = {
      ...commonLayout(), margin: { l: 64, r: 12, t: 8, b: 44 }, shapes: [],
      xaxis: { ...axisStyle(), title: { text: spec.x, font: { size: 12 } }, anchor: last > 1 ? `y${last}` : 'y' },
    };
    spec.panels.forEach((panel, index) => {
      const top = 1 - index * share;
      layout[index ? `yaxis${index + 1}` : 'yaxis'] = {
        ...axisStyle(), title: { text: panel.title, font: { size: 12 } }, type: panel.log ? 'log' : 'linear',
        domain: [top - share + (index < last - 1 ? 0.05 : 0), top], tickformat: '~g', nticks: 6,
      };
    });
    const line = { color: colour('soft'), width: 1 };
    if (spec.line !== null) {
      layout.shapes.push({ type: 'line', x0: spec.line, x1: spec.line, yref: 'paper', y0: 0, y1: 1, line: { ...line, dash: 'dot' } });
    }
    if (spec.diagonal !== null) {
      const end = spec.diagonal;
      layout.shapes.push({ type: 'line', x0: -end, y0: -end, x1: end, y1: end, line });
      layout.xaxis.range = [-end, end];
      Object.assign(layout.yaxis, { range: [-end, end], scaleanchor: 'x', constrain: 'domain' });
      layout.xaxis.constrain = 'domain';
    }
    return layout;
  }

  function layoutOf(spec) {
    const axis = axisStyle();
    const right = spec.dos ? 0.78 : 1;
    return {
      ...commonLayout(),
      xaxis: {
        ...axis, domain: [0, right], tickvals: spec.ticks.map((tick) => tick[0]), ticktext: spec.ticks.map((tick) => tick[1]),
        range: [spec.ticks[0][0], spec.ticks[spec.ticks.length - 1][0]],
      },
      xaxis2: { ...axis, domain: [right + 0.03, 1], title: { text: 'DOS' }, showticklabels: false, rangemode: 'tozero' },
      yaxis: { ...axis, title: { text: 'frequency (THz)' }, range: spec.range },
      shapes: [{ type: 'line', xref: 'paper', x0: 0, x1: 1, y0: 0, y1: 0, line: { color: colour('soft'), width: 1 } }],
    };
  }

  function draw(figure, spec) {
    const plot = figure.querySelector('.plot');
    const boxes = [...figure.querySelectorAll('input')];
    const shown = () => spec.sides.filter((side, index) => !boxes[index] || boxes[index].checked);
    const [traces, layout] = spec.panels ? [curveTraces, curveLayout] : [sideTraces, layoutOf];
    const paint = () => Plotly.react(
      plot, shown().flatMap((side) => traces(spec, side)), { ...layout(spec), uirevision: 'kept' },
      { displaylogo: false, responsive: true, modeBarButtonsToRemove: ['toImage', 'select2d', 'lasso2d'] },
    );
    figure.classList.add('is-live');
    paint();
    boxes.forEach((box) => box.addEventListener('change', paint));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint);
  }

  document.querySelectorAll('figure[data-live]').forEach((figure) => {
    draw(figure, JSON.parse(document.getElementById(figure.dataset.live).textContent));
  });
})();
