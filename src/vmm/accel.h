/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_ACCEL_H
#define VMM_ACCEL_H

/*
 * Properties of this host's CPU that virtual machines depend on.  x86 only.
 */

#include <stdbool.h>
#include <stdint.h>

/* The first processor's part of /proc/cpuinfo; the caller's.  Returns 0 or -errno. */
int cpuinfo_read(char **ret);

/* Is this flag in the list of CPU flags?  Pure. */
bool cpuinfo_has_flag(const char *cpuinfo, const char *flag);

/*
 * Everything about a CPU that a guest under hardware virtualisation may have seen, as one line:
 * "GenuineIntel 6-106-6 microcode 0x1 flags 0123456789abcdef".  Pure.
 *
 * Returns 0 or -ENOMEM.  Missing fields read as "?".
 */
int cpuinfo_fingerprint(const char *cpuinfo, char **ret);

/*
 * Find the frequency of the time stamp counter in kHz.  CPUID leaf 0x15 (with 0x16) has it on some
 * CPUs.  Else the function measures it against CLOCK_MONOTONIC_RAW for 50 ms and rounds to 100 kHz,
 * so that two measurements on one host agree.  Callers keep the answer, because the guest's kernel
 * command line has it, and a snapshot depends on that line.
 *
 * Returns 0; -EOPNOTSUPP on other CPUs than x86.
 * Source: Intel SDM volume 3, 18.7.3; recipes for QEMU's TCG, which shows guests the host's TSC.
 */
int tsc_khz_find(uint32_t *ret);

#endif
