//! Where processes run and sockets are made: beside this program, or in a network namespace that a thread has moved to.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, mpsc},
    thread,
};

use anyhow::{Result, anyhow};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    process::{Child, Command},
    runtime::Handle,
};

/// How many clients may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A place. A socket belongs for good to the namespace of the thread that made it, and a process begins in that of the
/// thread that started it: where the place is another one, its thread does both, and everything after that is this
/// program's own.
///
/// The thread stays as long as the place is used, and the namespace with it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    elsewhere: Option<Arc<Elsewhere>>,
    /// The file to which a process writes its id to become a member of a control group.
    group: Option<PathBuf>,
}

#[derive(Debug)]
struct Elsewhere {
    address: IpAddr,
    acts: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Place {
    /// A place that is reached by others at `address`: a thread does what `enter` says to get there, and stays.
    ///
    /// # Errors
    /// What `enter` says, or that there can be no thread.
    pub fn entered(address: IpAddr, enter: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Self> {
        let (acts, wanted) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (arrived, entered) = mpsc::channel();
        thread::Builder::new().name("place".to_owned()).spawn(move || {
            let outcome = enter();
            let stays = outcome.is_ok();
            // Whoever asked may have gone, and the acts end then too.
            let _told = arrived.send(outcome);
            if stays {
                wanted.into_iter().for_each(|act| act());
            }
        })?;
        entered.recv().map_err(|_| anyhow!("the thread of a place has ended"))??;
        Ok(Self { elsewhere: Some(Arc::new(Elsewhere { address, acts })), group: None })
    }

    /// The same place for processes in a control group: they write their ids to this file (`cgroup.procs`) before they begin.
    #[must_use]
    pub fn grouped(mut self, members: PathBuf) -> Self {
        self.group = Some(members);
        self
    }

    /// By which address others reach what runs here.
    pub fn address(&self) -> IpAddr {
        self.elsewhere.as_ref().map_or_else(|| Ipv4Addr::LOCALHOST.into(), |there| there.address)
    }

    /// Connects from here.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.socket(address)?.connect(address).await
    }

    /// Listens here.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = self.socket(address)?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    }

    /// Does something on the thread that is here: for what is made by system calls of which a thread's namespace matters.
    ///
    /// # Errors
    /// That the thread has ended.
    pub fn act<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let Some(there) = &self.elsewhere else { return Ok(act()) };
        let (done, outcome) = mpsc::channel();
        let gone = || io::Error::other("the thread of a place has ended");
        // It takes microseconds: nobody else acts there for long.
        there.acts.send(Box::new(move || _ = done.send(act()))).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())
    }

    /// Runs a program here to its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn output(&self, mut command: std::process::Command) -> io::Result<Output> {
        self.act(move || command.output())?
    }

    /// A program to be started here.
    pub(super) fn program(&self, program: &Path) -> Command {
        let Some(group) = &self.group else { return Command::new(program) };
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group).arg(program);
        command
    }

    /// Starts a process here.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let runtime = Handle::current();
        self.act(move || {
            let _entered = runtime.enter();
            command.spawn()
        })?
    }

    fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        self.act(move || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() })?
    }
}
