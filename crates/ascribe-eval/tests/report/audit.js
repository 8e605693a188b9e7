// Looks at a page as it is drawn, in a frame, and appends an element of the class "audit" to the page around it, which says
// what breaks a rule: texts without contrast, texts that overlap or leave their figure, a page wider than its window.
(() => {
  const found = [];
  const channels = (text) => {
    const numbers = (text.match(/[\d.]+/g) || []).map(Number);
    return numbers.length < 3 ? [0, 0, 0, 0] : [...numbers.slice(0, 3), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map((at) => top[3] * top[at] + (1 - top[3]) * under[at]);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [a, b] = [luminance(one), luminance(other)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const ancestors = (element) => (element ? [...ancestors(element.parentElement), element] : []);
  const behind = (element) =>
    ancestors(element).reduce((under, one) => over(channels(getComputedStyle(one).backgroundColor), under), [255, 255, 255]);
  const opacity = (element) => ancestors(element).reduce((share, one) => share * getComputedStyle(one).opacity, 1);
  const meet = (a, b, slack) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > slack && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > slack;

  document.querySelectorAll("details").forEach((one) => (one.open = true));
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) found.push(`the page is ${width} px wide in a window of ${innerWidth}`);

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    const box = range.getBoundingClientRect();
    const text = texts.currentNode.data.trim().slice(0, 40);
    if (!text || box.width === 0 || element.closest("script, style, title, desc")) continue;
    const svg = element.closest("svg");
    const style = getComputedStyle(element);
    const colour = channels(svg ? style.fill : style.color);
    colour[3] *= opacity(element);
    const paper = behind(element);
    const papers = [paper];
    // A text with a halo stands on the halo, whatever is drawn below.
    const halo = svg && style.paintOrder.startsWith("stroke") && style.stroke !== "none" && parseFloat(style.strokeWidth) >= 2;
    if (halo) papers[0] = over(channels(style.stroke), paper);
    for (const shape of svg && !halo ? svg.querySelectorAll("rect, path, circle, polygon") : []) {
      const fill = channels(getComputedStyle(shape).fill);
      fill[3] *= getComputedStyle(shape).fillOpacity * opacity(shape);
      if (getComputedStyle(shape).fill !== "none" && meet(box, shape.getBoundingClientRect(), 1)) papers.push(over(fill, paper));
    }
    for (const paper of papers) {
      const got = contrast(over(colour, paper), paper);
      if (!(got >= 4.5)) found.push(`contrast ${got.toFixed(2)} of "${text}"`);
    }
  }

  for (const svg of document.querySelectorAll("figure > svg")) {
    const frame = svg.getBoundingClientRect();
    if (frame.width === 0) continue;
    const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([text, box], at) => {
      const inside = frame.left - 1 <= box.left && box.right <= frame.right + 1 && frame.top - 1 <= box.top && box.bottom <= frame.bottom + 1;
      if (!inside) found.push(`"${text}" stands out of its figure`);
      for (const [other, place] of boxes.slice(0, at)) if (meet(box, place, 1)) found.push(`"${text}" overlaps "${other}"`);
    });
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const said = parent.document.createElement("pre");
  said.className = "audit";
  said.textContent = `${innerWidth} ${dark}: ${found.length ? [...new Set(found)].join("; ") : "passed"}`;
  parent.document.body.append(said);
})();
