import { expect, it } from 'vitest';
import { outcomeOfExit, outcomeOfStatus } from './outcome.js';

it.each([
  [0, 'delivered', '2.0.0'],
  [64, 'deferred', '4.3.0'],
  [65, 'bounced', '5.6.0'],
  [67, 'bounced', '5.1.1'],
  [77, 'bounced', '5.7.1'],
  [66, 'deferred', '4.3.0'],
  [68, 'bounced', '5.1.2'],
  [78, 'deferred', '4.3.0'],
  [126, 'deferred', '4.3.0'],
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
  [401, 'deferred'],
  [403, 'deferred'],
  [404, 'deferred'],
  [405, 'deferred'],
  [407, 'deferred'],
  [410, 'bounced'],
  [415, 'bounced'],
  [418, 'deferred'],
  [422, 'bounced'],
  [408, 'deferred'],
  [413, 'bounced'],
  [425, 'deferred'],
  [429, 'deferred'],
  [500, 'deferred'],
  [503, 'deferred'],
])('HTTP status %i: %s', (status, result) => {
  expect(outcomeOfStatus(status).result).toBe(result);
});

it("calls somebody for what is the deployment's fault, and not for what the program means", () => {
  for (const outcome of [
    outcomeOfStatus(401),
    outcomeOfStatus(404),
    outcomeOfStatus(500),
    outcomeOfExit(127),
    outcomeOfExit(78),
  ]) {
    expect(outcome.problem).toBeDefined();
  }
  for (const outcome of [outcomeOfStatus(429), outcomeOfStatus(422), outcomeOfExit(75), outcomeOfExit(65)]) {
    expect(outcome.problem).toBeUndefined();
  }
});
