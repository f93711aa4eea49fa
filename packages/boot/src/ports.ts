/**
 * This package consumes no port: it turns bytes into a plan (bytes and addresses, and a CPU state as plain data) that whoever
 * owns guest memory and virtual CPUs applies.
 */
export type {};
