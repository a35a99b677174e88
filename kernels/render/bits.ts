/** Bits of floating-point numbers that both renderers build exponents and mantissas with. */

/** 1.5·2²³ + 127: adding it to a small whole number puts that number + 127 into the last bits. */
export const EXP2_SHIFT = 12583039;

/** The bits of the f32 just above √½. */
export const HALF_ROOT_BITS = 0x3f3504f3;

/** What quants of four bits are stored above: they are −8 … 7. */
export const LOWEST_QUANT = 8;
