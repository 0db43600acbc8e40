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

/*
 * Volumes on the root disk.  Each start copies them in anew, and no file of an earlier start may be
 * left in their places.  So their paths are noted on the disk, where the guest's programs do not
 * see them.  Before the next boot mounts the root, it removes the disk's files in these places.
 * Then the image's files show, and the volume is copied over them, as at the first start.
 */
void disks_note_volume(int upper_fd, const char *path, const char *name); /* name in it, or "." */
void disks_forget_volumes(int upper_fd); /* a fork has their files, but not the volumes */

/* writable: the disk's root folder, before anybody uses it; upper: its folder of the guest's files.
 * Follows no link, since the guest may have made it. */
void disks_reset_volumes(const char *writable, const char *upper);

#endif
