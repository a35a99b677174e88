/** The shared memory and its pieces. */

import { type AddressType, MAX_PAGES } from "../../kernels/render/wasm.ts";
import { checkPiece, type Memory } from "../device.ts";

/** Bytes of a page. */
export const PAGE = 65536;

/** Bytes that the addresses of a memory reach. */
export const reach = (addresses: AddressType): number => PAGE * MAX_PAGES[addresses];

/** Bytes that the CPU device can hold at most. */
export const CPU_MEMORY_LIMIT = reach("i64");

/** A memory whose addresses have 64 bits takes and gives numbers of pages as bigints. */
interface LargeMemory {
  grow(pages: bigint): bigint;
}

/** The memory that all threads share. It grows, and never moves. */
export interface SharedMemory {
  readonly memory: WebAssembly.Memory;
  readonly addresses: AddressType;
}

/** A memory that can grow to all that addresses of this type reach. */
export function createMemory(addresses: AddressType): SharedMemory {
  const pages = (n: number) => addresses === "i64" ? BigInt(n) : n;
  const descriptor = {
    address: addresses,
    initial: pages(64),
    maximum: pages(MAX_PAGES[addresses]),
    shared: true,
  } as unknown as WebAssembly.MemoryDescriptor;
  return { memory: new WebAssembly.Memory(descriptor), addresses };
}

/** Adds pages; throws a RangeError where the system has no more. */
export function growMemory({ memory, addresses }: SharedMemory, pages: number): void {
  if (addresses === "i64") (memory as unknown as LargeMemory).grow(BigInt(pages));
  else memory.grow(pages);
}

/** A piece of the device's heap. */
export interface CpuMemory extends Memory {
  readonly address: number;
}

/** A piece by its address. */
export function piece(address: number, bytes: number): CpuMemory {
  return {
    address,
    bytes,
    slice: (offset, length) => {
      checkPiece(offset, length, bytes);
      return piece(address + offset, length);
    },
  };
}
