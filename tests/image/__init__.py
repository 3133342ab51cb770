"""The image built for real and run, alone and in a rehearsal; and the unit under a real systemd. `make image`.

Nothing here needs a container engine: debootstrap makes a base image and a root to boot, buildah builds (vfs storage,
chroot isolation), crun runs, systemd-nspawn boots. All of it takes root on Debian or Ubuntu.
"""
