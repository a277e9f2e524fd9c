(() => {
  // Any colour that the style sheet can name, as red, green, blue and alpha: the canvas knows them all.
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const channels = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const { backgroundColor, backgroundImage } = getComputedStyle(one);
      // Letters on a gradient are pictures here: hidden from screen readers, and named beside it.
      if (backgroundImage !== 'none') return null;
      if (channels(backgroundColor)[3] === 255) return channels(backgroundColor);
    }
    return [255, 255, 255];
  };
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const [text, node] = [texts.currentNode.textContent.trim(), texts.currentNode.parentElement];
    if (!text || !node.checkVisibility() || node.closest('script, style, [disabled], [aria-disabled=true]')) continue;
    const [{ color, fontSize, fontWeight }, behind] = [getComputedStyle(node), ground(node)];
    if (!behind) continue;
    const [one, other] = [light(channels(color)), light(behind)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const isLarge = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) pale.push(`${text}: ${ratio.toFixed(2)}`);
  }
  return pale.join('\n');
})()
