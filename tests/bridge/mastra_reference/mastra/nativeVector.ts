export {
  mastraNativeVectorAction as query,
  mastraNativeVectorMutation as write,
  mastraNativeVectorQuery as read,
} from '@mastra/convex/server';
