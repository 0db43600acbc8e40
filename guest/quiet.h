/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_QUIET_H
#define GUEST_QUIET_H

/*
 * Let an idle guest sleep.
 *
 * Linux wakes twice a second to see whether memory should be compacted in advance, and once to add
 * up its statistics of memory.  The PIT, the timer chip of the first PCs, fires 18 times a second
 * from power-on.  Linux takes the local APIC's timer instead and turns the PIT off only where it
 * had used it before, so a VMM wakes for nobody.  Each wake-up takes a millisecond under TCG.
 *
 * The watchdog for locked-up processors wakes a thread of the highest priority every four seconds,
 * and in each clone before anything else, since its timer is overdue there.  In a VM it reports a
 * host that was busy or asleep.
 *
 * An image that wants these settings otherwise sets them later (sysctl.conf(5)).
 */
void quiet_guest(void);

#endif
