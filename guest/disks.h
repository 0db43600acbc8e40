/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_DISKS_H
#define GUEST_DISKS_H

/* The file systems on disks that the guest may write: data disks, since the root is read-only. */

/* Tell the host which blocks are free (FITRIM), if the disk supports it. */
void disks_trim(void);

/* Make them read-only before a power-off, so that they need no recovery. */
void disks_seal(void);

#endif
