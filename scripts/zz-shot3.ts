import { chromium } from 'playwright-core';
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
for (const w of [1000, 400]) {
  const page = await browser.newPage({ viewport: { width: w, height: 700 }, reducedMotion: 'reduce' });
  await page.goto(process.argv[2]!);
  await page.waitForTimeout(Number(process.argv[4] ?? 3000));
  await page.screenshot({ path: `/tmp/face/${process.argv[3]}-${w}.png`, fullPage: true });
}
await browser.close();
