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
