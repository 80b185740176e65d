export { mastraStorage as handle } from '@mastra/convex/server';
