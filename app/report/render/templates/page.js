// Comfort only; the page is complete without it.
const store = { get: () => { try { return localStorage.theme } catch { } }, set: v => { try { localStorage.theme = v } catch { } } };
for (const radio of document.querySelectorAll('[name=theme]')) {
  radio.checked = radio.id === (store.get() ?? 'theme-auto');
  radio.onchange = () => store.set(radio.id);
}
// Contents: open beside the text, folded above it.
const fold = document.querySelector('.toc details'), wide = matchMedia('(min-width: 68rem)');
(wide.onchange = () => fold.open = wide.matches)();
// Contents: mark where the reader is.
const links = new Map([...fold.querySelectorAll('a')].map(a => [a.hash.slice(1), a]));
const marks = [...links.keys()].map(id => document.getElementById(id));
const mark = () => {
  const here = marks.findLast(m => m.getBoundingClientRect().top < innerHeight / 3) ?? marks[0];
  for (const [id, a] of links) id === here.id ? a.setAttribute('aria-current', 'true') : a.removeAttribute('aria-current');
};
addEventListener('scroll', mark, { passive: true }); mark();
// Only what really scrolls needs a stop for the Tab key.
const stops = () => { for (const box of document.querySelectorAll('pre[tabindex], .table[tabindex]')) {
  const scrolls = box.scrollWidth > box.clientWidth + 1;
  box.tabIndex = scrolls ? 0 : -1; box.toggleAttribute('data-scrolls', scrolls);
} };
addEventListener('resize', stops); addEventListener('toggle', stops, true); stops();
// Code: all of it at once, and a button that copies one piece.
const root = document.documentElement, codes = document.querySelector('.codes');
codes.hidden = false;
codes.onclick = ({ target: { dataset: { codes: wish } } }) => {
  if (!wish) return;
  root.classList.toggle('no-code', wish === 'hide');
  for (const one of document.querySelectorAll('details[data-code]')) one.open = wish === 'show';
};
for (const pre of document.querySelectorAll('pre.code')) {
  const button = Object.assign(document.createElement('button'), { type: 'button', className: 'copy', textContent: 'Copy' });
  button.setAttribute('aria-label', `Copy: ${pre.getAttribute('aria-label')}`);
  button.onclick = async () => {
    const text = pre.querySelector('code').textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      const area = Object.assign(document.createElement('textarea'), { value: text });
      document.body.append(area); area.select(); document.execCommand('copy'); area.remove();
    }
    button.textContent = 'Copied'; setTimeout(() => button.textContent = 'Copy', 1500);
  };
  pre.prepend(button);
}
// A term's link leads into the folded glossary.
const unfold = () => document.getElementById(location.hash.slice(1))?.closest('details')?.setAttribute('open', '');
addEventListener('hashchange', unfold); unfold();
