// The few numbers that metrics share with native code and with documents.

/** uWSGI's types; the numbers are those of its documents. */
export const types = ['counter', 'gauge', 'absolute', 'alias'] as const
export type MetricKind = (typeof types)[number]

/** Where a value comes from, numbered as in metrics_layout.hpp. */
export const source = { counted: 0, stored: 1, alias: 2, bucket: 3, figure: 4 } as const
