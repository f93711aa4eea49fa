export { ACPI_AREA_END, ACPI_AREA_START, type AcpiBlob, type AcpiTables, buildAcpiTables } from './build.ts';
export type { AcpiConfig, InterruptOverride } from './config.ts';
