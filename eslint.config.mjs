// One configuration for the whole repository: JavaScript everywhere, and in client/ TypeScript with its types.
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import globals from 'globals';
import tseslint from 'typescript-eslint';

export default defineConfig(
  { ignores: ['dist/', 'target/', 'node_modules/', 'test-results/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.{js,mjs,cjs}'],
    extends: [js.configs.recommended],
    languageOptions: { globals: globals.node },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': ['error', { destructuring: 'all' }],
    },
  },
  { files: ['**/*.js', '**/*.cjs'], languageOptions: { sourceType: 'commonjs' } },
  {
    // What Node has is imported: where tests run in a realm of their own, as with Jest's jsdom, the globals are others.
    files: ['index.js', 'native.js', 'lib/**'],
    languageOptions: { globals: { ...Object.fromEntries(Object.keys(globals.node).map((name) => [name, 'off'])), ...globals.commonjs, __dirname: 'readonly' } },
    rules: {
      // Whose constructor made something says little: each realm has its own.
      'no-restricted-syntax': ['error', { selector: "BinaryExpression[operator='instanceof']", message: 'Check what it is.' }],
    },
  },
  // These run partly in a page: what a test hands to the browser, and examples.
  { files: ['__test__/**', 'examples/**'], languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ['client/*.ts'],
    extends: [js.configs.recommended, tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Between two that cannot both be obeyed, `as` is the plainer.
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // An empty text is to fall back like a missing one.
      '@typescript-eslint/prefer-nullish-coalescing': ['error', { ignorePrimitives: { string: true } }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  {
    files: ['client/package/*.{mts,cts}', '__test__/types/**/*.{ts,mts,cts}', '*.d.ts'],
    extends: [js.configs.recommended, tseslint.configs.strict],
    rules: {
      // The only way to say in types what `require` gives.
      '@typescript-eslint/no-require-imports': 'off',
    },
  },
);
