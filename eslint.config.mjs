// Rules for the Convex functions and their tests; the Python side has ruff.
import convexPlugin from '@convex-dev/eslint-plugin';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['**/_generated/**', '**/node_modules/**', '.venv/**'] },
  {
    files: ['convex/**/*.ts', 'tests/functions/**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      complexity: ['error', 10],
      'max-len': ['error', { code: 100, ignoreUrls: true }],
      // Names with a leading underscore say that a member is taken out in order to be left out.
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_' },
      ],
      // `Number` in a message is what it is for; objects still may not stand in one.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // noUncheckedIndexedAccess cannot see that an index comes from the array itself.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // `async` says that a refusal is a rejected promise, whether or not something is awaited.
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['convex/**/*.ts'],
    extends: [convexPlugin.configs.recommended],
    rules: {
      '@convex-dev/no-filter-in-query': 'error',
      '@convex-dev/no-collect-in-query': 'error',
      '@convex-dev/import-wrong-runtime': 'error',
    },
  },
);
