import { chromium } from 'playwright-core';
const [url = '', prefix = 'x', script = ''] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
for (const [w, scheme] of [
  [1600, 'light'],
  [1600, 'dark'],
  [400, 'light'],
  [400, 'dark'],
] as const) {
  const page = await browser.newPage({
    viewport: { width: w, height: 1000 },
    colorScheme: scheme,
    reducedMotion: 'reduce',
  });
  page.on('console', (m) => console.log(m.type(), m.text()));
  await page.goto(url);
  await page.waitForTimeout(4000);
  if (script !== '') {
    await page.evaluate(script);
    await page.waitForTimeout(3000);
  }
  await page.screenshot({ path: `/tmp/face/${prefix}-${w}-${scheme}.png`, fullPage: true });
  await page.close();
}
await browser.close();
