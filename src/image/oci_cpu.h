/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_OCI_CPU_H
#define IMAGE_OCI_CPU_H

/*
 * The level of the guests' CPU: x86-64-v1 to v4 of the x86-64 psABI.  Programs for a guest may be
 * built for this level at most.
 *
 * With KVM a guest has the host's CPU.  Without KVM, QEMU emulates a CPU of level 3 (since 7.2, the
 * first version that mvm supports; "-cpu max" has AVX2, and no AVX-512).
 */

/* The level of a CPU with these flags of /proc/cpuinfo.  Pure. */
unsigned oci_cpu_level(const char *flags);

/* The level of the guests that this host runs. */
unsigned oci_guest_level(void);

#endif
