// What scripts/check_pages.py asks of a page: sentences on what does not fit, is cut, or is hard to see.
() => {
  const found = new Set();
  const root = document.documentElement;

  if (root.scrollWidth > root.clientWidth) {
    const isWide = (node) => node.getBoundingClientRect().right > root.clientWidth + 1 && !node.closest('.scroll, pre, svg');
    const names = [...document.querySelectorAll('main *')].filter(isWide).slice(0, 3)
      .map((node) => `${node.tagName.toLowerCase()} ${node.className}`.trim());
    found.add(`the page is ${root.scrollWidth} wide: ${names.join(', ')}`);
  }

  const channels = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  // As WCAG 2.2 defines them.
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
  const contrast = (first, second) => {
    const [dark, light] = [luminance(first), luminance(second)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const paper = (node) => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length === 3) return colour;
    }
    return [255, 255, 255];
  };
  // Grids are to be seen less than curves.
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = 'var(--grid)';
  const grid = getComputedStyle(probe).color;
  probe.remove();

  for (const svg of document.querySelectorAll('figure svg')) {
    const frame = svg.getBoundingClientRect();
    if (!frame.width) continue;
    for (const text of svg.querySelectorAll('text')) {
      const box = text.getBoundingClientRect(), words = text.textContent.trim();
      const isCut = box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
      if (words && box.width && isCut) found.add(`text of a figure is cut: "${words}"`);
    }
    const ground = paper(svg);
    for (const line of svg.querySelectorAll('path, line, use')) {
      const style = getComputedStyle(line), colour = channels(style.stroke), box = line.getBoundingClientRect();
      const isLine = style.fill === 'none' && colour.length === 3 && style.stroke !== grid
        && parseFloat(style.strokeWidth) > 0 && (box.width || box.height);
      if (!isLine || line.closest('defs, clipPath')) continue;
      const value = contrast(colour, ground);
      if (value < 3) found.add(`a line of ${style.stroke} has a contrast of ${value.toFixed(2)}`);
    }
  }
  return [...found];
}
