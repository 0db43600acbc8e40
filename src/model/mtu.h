/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_MTU_H
#define MODEL_MTU_H

/*
 * The MTU of the link between a guest on QEMU and mvm-net.
 *
 * Each frame costs the guest, QEMU and mvm-net a wake-up or so, whatever its length; the real
 * network never sees one, as mvm-net ends TCP and the host's kernel cuts datagrams.  Segments of
 * IPv4 and IPv6 both fill libslirp's buffers of 128 KiB with nine, and a window of TCP has four.
 */
enum { LINK_MTU = 14624 };

#endif
