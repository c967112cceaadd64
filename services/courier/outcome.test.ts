import { expect, it } from 'vitest';
import { outcomeOfExit, outcomeOfStatus } from './outcome.js';

it.each([
  [0, 'delivered', '2.0.0'],
  [64, 'bounced', '5.3.0'],
  [65, 'bounced', '5.6.0'],
  [67, 'bounced', '5.1.1'],
  [77, 'bounced', '5.7.1'],
  [78, 'bounced', '5.3.5'],
  [69, 'deferred', '4.3.0'],
  [70, 'deferred', '4.3.0'],
  [71, 'deferred', '4.3.0'],
  [75, 'deferred', '4.3.0'],
  [1, 'deferred', '4.3.0'],
  [127, 'deferred', '4.3.0'],
  [137, 'deferred', '4.3.0'],
])('exit code %i: %s %s', (code, result, status) => {
  const outcome = outcomeOfExit(code);
  expect([outcome.result, outcome.text.split(' ')[0]]).toEqual([result, status]);
});

it('hands on what the command said, for refusals and put-offs that it meant', () => {
  expect(outcomeOfExit(65, 'no bridge for you').text).toBe('5.6.0 no bridge for you');
  expect(outcomeOfExit(75, 'come back at noon').text).toBe('4.3.0 come back at noon');
  expect(outcomeOfExit(1, 'Traceback').text).not.toContain('Traceback');
});

it.each([
  [200, 'delivered'],
  [204, 'delivered'],
  [301, 'deferred'],
  [400, 'bounced'],
  [404, 'bounced'],
  [408, 'deferred'],
  [413, 'bounced'],
  [425, 'deferred'],
  [429, 'deferred'],
  [500, 'deferred'],
  [503, 'deferred'],
])('HTTP status %i: %s', (status, result) => {
  expect(outcomeOfStatus(status).result).toBe(result);
});
