/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_DISKS_H
#define GUEST_DISKS_H

/*
 * The file systems on disks that the guest may write: data disks and the root disk, since the root
 * image is read-only.
 *
 *   upper_fd  a folder of the root disk, to which no path leads; -1: there is none
 */

/* Tell the host which blocks are free (FITRIM), if the disk supports it. */
void disks_trim(int upper_fd);

/* Make them read-only before a power-off, so that they need no recovery. */
void disks_seal(int upper_fd);

#endif
