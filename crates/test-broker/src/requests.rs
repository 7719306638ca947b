//! Requests that rdkafka has no function for, as bytes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::broker::Broker;
use crate::wait::PATIENCE;

impl Broker {
    /// The broker's response after its header, for a request without compact encodings.
    pub(crate) fn ask(&self, api: i16, version: i16, request: &[u8]) -> Vec<u8> {
        self.send_request(api, version, &[], request)
    }

    /// The broker's response after its header, for a request with compact encodings.
    pub(crate) fn ask_compact(&self, api: i16, version: i16, request: &[u8]) -> Vec<u8> {
        const NO_TAGS: u8 = 0;
        let mut answer = self.send_request(api, version, &[NO_TAGS], request);
        assert_eq!(answer.remove(0), NO_TAGS);
        answer
    }

    fn send_request(&self, api: i16, version: i16, tags: &[u8], request: &[u8]) -> Vec<u8> {
        let id = 1_i32.to_be_bytes();
        let header = [&api.to_be_bytes()[..], &version.to_be_bytes(), &id].concat();
        let request = [header, string("tests"), tags.to_vec(), request.to_vec()].concat();
        let size = i32::try_from(request.len()).unwrap().to_be_bytes();
        let mut stream = TcpStream::connect(&self.servers).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[&size[..], &request].concat()).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], id);
        answer.split_off(4)
    }
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let size = i16::try_from(text.len()).unwrap().to_be_bytes();
    [&size, text.as_bytes()].concat()
}
