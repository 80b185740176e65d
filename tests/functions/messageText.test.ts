// The plain text of messages in every shape that has been stored: as tests/library/test_text.py.
import { expect, test } from "vitest";
import { messageText, TOOL_CHARS_MAX } from "../../convex/lib/messageText";

const format2 = (...parts: object[]) => JSON.stringify({ format: 2, parts });

test.each([
  [{ type: "text", text: "said" }, "said"],
  [{ type: "reasoning", reasoning: "thought" }, "thought"],
  [{ type: "reasoning", text: "thought" }, "thought"],
  [{ type: "reasoning", reasoning: "", details: [{ type: "text", text: "deep" }] }, "deep"],
  [
    {
      type: "tool-invocation",
      toolInvocation: {
        state: "result",
        toolCallId: "c1",
        toolName: "weather",
        args: { city: "Oslo" },
        result: { degrees: 4, wet: true, wind: [1.5, null] },
      },
    },
    "weather city Oslo degrees 4 wet true wind 1.5",
  ],
  [{ type: "tool-call", toolName: "look", args: { for: "it" } }, "look for it"],
  [{ type: "tool-result", toolName: "look", result: "found" }, "look found"],
  [{ type: "tool-look", input: { for: "it" }, output: "found" }, "look for it found"],
  [{ type: "dynamic-tool", toolName: "look", output: "found" }, "look found"],
  [{ type: "file", filename: "a.png", data: "AAAA", mimeType: "image/png" }, "a.png"],
  [{ type: "file", url: "data:image/png;base64,AAAA" }, ""],
  [
    { type: "source", source: { url: "https://x.example", title: "X" } },
    "X https://x.example",
  ],
  [{ type: "source-document", title: "Paper", filename: "p.pdf" }, "Paper p.pdf"],
  [{ type: "data-place", data: { city: "Oslo" } }, "city Oslo"],
  [{ type: "step-start" }, ""],
  [{ type: "redacted-reasoning", data: "xyz" }, ""],
  [{ type: "something-new", text: "still said" }, "still said"],
])("each kind of part says what it holds: %j", (part, text) => {
  expect(messageText(format2(part))).toBe(text);
});

test.each([
  ["plain words", "plain words"],
  ["", ""],
  ["{}", ""],
  ['{"format":2,"parts":[],"content":"body"}', "body"],
  ['{"format":2,"parts":[]}', ""],
  ['{"format":2,"parts":[{"type":"step-start"}],"content":"body"}', "body"],
  ['{"format":2,"parts":[{"type":"text","text":"part"}],"content":"body"}', "part"],
  ['{"content":[{"type":"text","text":"v1"}]}', "v1"],
  ['[{"type":"text","text":"one"},{"type":"text","text":"two"}]', "one\ntwo"],
  ['{"content":"done","toolInvocations":[{"toolName":"look","args":{"a":"b"}}]}', "done\nlook a b"],
  ['"in quotes"', "in quotes"],
  ['{"text":"just text"}', "just text"],
  ["42", "42"],
  ["true", "true"],
  ["[1, 2]", "[1, 2]"],
  ['{"answer": 42}', '{"answer": 42}'],
  ['{"format":2,"parts":', '{"format":2,"parts":'],
  ["[draft] to do", "[draft] to do"],
  ['"Hi", she said', '"Hi", she said'],
])("stored text of every age is read: %s", (stored, text) => {
  expect(messageText(stored)).toBe(text);
});

test("parts stand one to a line and silent ones take none", () => {
  const parts = [{ type: "step-start" }, ...["one", "two"].map((text) => ({ type: "text", text }))];
  expect(messageText(format2(...parts))).toBe("one\ntwo");
});

test("a tool result adds a bounded number of characters", () => {
  const part = { type: "tool-result", toolName: "dump", result: Array(100).fill("x".repeat(3000)) };
  expect(messageText(format2(part)).length).toBeLessThanOrEqual("dump ".length + TOOL_CHARS_MAX);
});

test("depth is no reason to fail", () => {
  const deep = "[".repeat(5000) + "]".repeat(5000);
  expect(messageText(deep)).toBe(deep);
  const part = `{"type":"tool-result","toolName":"dig","result":${deep}}`;
  expect(messageText(`{"format":2,"parts":[${part}]}`)).toBe("dig");
});

test("half a surrogate pair becomes valid text", () => {
  const stored = '{"format":2,"parts":[{"type":"text","text":"a\\ud800b \\u00e9 \\ud83e\\udd89"}]}';
  expect(messageText(stored)).toBe("a?b é 🦉");
});
