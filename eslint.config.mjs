// The ESLint configuration of the whole repository: JavaScript, and TypeScript with type information in client/.
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
    files: ['index.js', 'native.js', 'lib/**', 'client/**', 'scripts/**', 'bench/**', 'conformance/**'],
    rules: { 'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }] },
  },
  {
    // Globals of Node are imported: in a realm of its own, as with Jest's jsdom, they would be other ones.
    files: ['index.js', 'native.js', 'lib/**'],
    languageOptions: { globals: { ...Object.fromEntries(Object.keys(globals.node).map((name) => [name, 'off'])), ...globals.commonjs, __dirname: 'readonly' } },
    rules: {
      // Each realm has its own constructors.
      'no-restricted-syntax': ['error', { selector: "BinaryExpression[operator='instanceof']", message: 'Check its shape instead: each realm has its own constructors.' }],
    },
  },
  // Parts of these run in a page.
  { files: ['__test__/**', 'examples/**'], languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ['client/*.ts'],
    extends: [js.configs.recommended, tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Contradicts no-non-null-assertion; `as` is the plainer of the two.
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // An empty string falls back like a missing one.
      '@typescript-eslint/prefer-nullish-coalescing': ['error', { ignorePrimitives: { string: true } }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  {
    files: ['client/package/*.{mts,cts}', '__test__/types/**/*.{ts,mts,cts}', '*.d.ts'],
    extends: [js.configs.recommended, tseslint.configs.strict],
    rules: {
      // The only way to type what `require` returns.
      '@typescript-eslint/no-require-imports': 'off',
    },
  },
);
