/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_CPU_H
#define IMAGE_OCI_CPU_H

/*
 * Which of the levels x86-64-v1 to v4 of the x86-64 psABI programs for guests may be made for.
 *
 * With KVM a guest has the host's CPU.  Without, QEMU emulates one of level 3 (since 7.2, the first
 * that mvm supports; "-cpu max" has AVX2, and no AVX-512).
 */

/* From the flags that /proc/cpuinfo lists; pure. */
unsigned oci_cpu_level(const char *flags);

/* The level of the guests that this host runs. */
unsigned oci_guest_level(void);

#endif
