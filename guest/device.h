/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_DEVICE_H
#define GUEST_DEVICE_H

/* Devices that are about to appear. */

#include <stdint.h>

/* Start listening to the kernel's uevents.  Returns a descriptor or -errno. */
int device_listen(void);

/*
 * Wait until check(arg) returns something other than 0, asking it at once and after each uevent.
 *
 *   uevent_fd  from device_listen(), opened before whatever makes the device appear
 *
 * Returns what check returned, -ETIMEDOUT or -errno.
 */
int device_wait(int uevent_fd, int64_t deadline_ns, int (*check)(void *arg), void *arg);

#endif
