import GuestAgent

Boot.main()
